// Sums and maxima over each GROUP consecutive invocations of a workgroup, through workgroup memory.
// GROUP is a power of two that divides WORKGROUP. Every invocation of the workgroup must call.
// The entry point stands here because only the subgroup version may name the subgroup's size, which is 1 for this one.

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(local_invocation_index) index: u32,
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
) {
  kernel(index, 1u, workgroup, workgroups);
}

var<workgroup> reduce_slots: array<vec4<f32>, WORKGROUP>;

fn group_sum4(value: vec4<f32>, index: u32, subgroup: u32) -> vec4<f32> {
  let lane = index % GROUP;
  reduce_slots[index] = value;
  workgroupBarrier();
  for (var half = GROUP / 2u; half > 0u; half >>= 1u) {
    if (lane < half) {
      reduce_slots[index] += reduce_slots[index + half];
    }
    workgroupBarrier();
  }
  let total = reduce_slots[index - lane];
  workgroupBarrier();
  return total;
}

fn group_sum(value: f32, index: u32, subgroup: u32) -> f32 {
  return group_sum4(vec4<f32>(value, 0.0, 0.0, 0.0), index, subgroup).x;
}

fn group_max(value: f32, index: u32, subgroup: u32) -> f32 {
  let lane = index % GROUP;
  reduce_slots[index].x = value;
  workgroupBarrier();
  for (var half = GROUP / 2u; half > 0u; half >>= 1u) {
    if (lane < half) {
      reduce_slots[index].x = max(reduce_slots[index].x, reduce_slots[index + half].x);
    }
    workgroupBarrier();
  }
  let largest = reduce_slots[index - lane].x;
  workgroupBarrier();
  return largest;
}
