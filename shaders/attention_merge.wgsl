// The stretches of attention_decode.wgsl put together, one workgroup a head: every stretch's sums are brought to the largest score of all.

@group(0) @binding(0) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> step: Step;

const QUADS: u32 = HEAD_DIM / 4u;
const SLOTS: u32 = WORKGROUP / QUADS;
const LOWEST: f32 = -1e30;

var<workgroup> slot_sums: array<vec4<f32>, SLOTS * QUADS>;

fn kernel(index: u32, subgroup: u32, workgroup: vec3<u32>, workgroups: vec3<u32>) {
  let splits = min(step.position / SPLIT + 1u, SPLITS);
  let first = workgroup.x * SPLITS * (QUADS + 1u);
  var highest = LOWEST;
  for (var s = index; s < splits; s += WORKGROUP) {
    highest = max(highest, partials[first + s * (QUADS + 1u) + QUADS].y);
  }
  highest = group_max(highest, index, subgroup);
  var total = 0.0;
  for (var s = index; s < splits; s += WORKGROUP) {
    let split = partials[first + s * (QUADS + 1u) + QUADS];
    total += exp(split.y - highest) * split.x;
  }
  total = group_sum(total, index, subgroup);

  let column = index % QUADS;
  let slot = index / QUADS;
  if (slot < SLOTS) {
    var sum = vec4<f32>(0.0);
    for (var s = slot; s < splits; s += SLOTS) {
      let at = first + s * (QUADS + 1u);
      sum += exp(partials[at + QUADS].y - highest) * partials[at + column];
    }
    slot_sums[index] = sum;
  }
  workgroupBarrier();
  if (index < QUADS) {
    var sum = vec4<f32>(0.0);
    for (var s = 0u; s < SLOTS; s++) {
      sum += slot_sums[s * QUADS + index];
    }
    y[workgroup.x * QUADS + index] = sum / total;
  }
}
