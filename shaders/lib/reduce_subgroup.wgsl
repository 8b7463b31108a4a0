// The functions of reduce_shared.wgsl with subgroup operations, for subgroups of any power-of-two size, smaller or larger than GROUP.

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_size) subgroup: u32,
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
) {
  kernel(index, subgroup, workgroup, workgroups);
}

var<workgroup> reduce_slots: array<vec4<f32>, WORKGROUP>;

fn group_sum4(value: vec4<f32>, index: u32, subgroup: u32) -> vec4<f32> {
  let width = min(GROUP, subgroup);
  var total = value;
  for (var distance = 1u; distance < width; distance <<= 1u) {
    total += subgroupShuffleXor(total, distance);
  }
  if (width < GROUP) {
    let first = index - index % GROUP;
    if (index % width == 0u) {
      reduce_slots[index] = total;
    }
    workgroupBarrier();
    total = reduce_slots[first];
    for (var slot = width; slot < GROUP; slot += width) {
      total += reduce_slots[first + slot];
    }
    workgroupBarrier();
  }
  return total;
}

fn group_sum(value: f32, index: u32, subgroup: u32) -> f32 {
  let width = min(GROUP, subgroup);
  var total = value;
  for (var distance = 1u; distance < width; distance <<= 1u) {
    total += subgroupShuffleXor(total, distance);
  }
  if (width < GROUP) {
    let first = index - index % GROUP;
    if (index % width == 0u) {
      reduce_slots[index].x = total;
    }
    workgroupBarrier();
    total = reduce_slots[first].x;
    for (var slot = width; slot < GROUP; slot += width) {
      total += reduce_slots[first + slot].x;
    }
    workgroupBarrier();
  }
  return total;
}

fn group_max(value: f32, index: u32, subgroup: u32) -> f32 {
  let width = min(GROUP, subgroup);
  var largest = value;
  for (var distance = 1u; distance < width; distance <<= 1u) {
    largest = max(largest, subgroupShuffleXor(largest, distance));
  }
  if (width < GROUP) {
    let first = index - index % GROUP;
    if (index % width == 0u) {
      reduce_slots[index].x = largest;
    }
    workgroupBarrier();
    largest = reduce_slots[first].x;
    for (var slot = width; slot < GROUP; slot += width) {
      largest = max(largest, reduce_slots[first + slot].x);
    }
    workgroupBarrier();
  }
  return largest;
}
