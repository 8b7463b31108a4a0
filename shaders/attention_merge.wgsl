// The stretches of attention_decode.wgsl put together, one workgroup a head: SLOTS invocations share a quad's stretches, bring their sums
// to the largest score of these, and then those of all slots to the largest of all.

@group(0) @binding(0) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> step: Step;

const QUADS: u32 = HEAD_DIM / 4u;
const SLOTS: u32 = WORKGROUP / QUADS;
const LOWEST: f32 = -1e30;

// Of each slot's stretches: sums of values, and (sum of weights, largest score) that they are relative to.
var<workgroup> slot_sums: array<vec4<f32>, SLOTS * QUADS>;
var<workgroup> slot_totals: array<vec2<f32>, SLOTS>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let splits = min(step.position / SPLIT + 1u, SPLITS);
  let first = workgroup.x * SPLITS * (QUADS + 1u);
  let column = index % QUADS;
  let slot = index / QUADS;
  if (slot < SLOTS) {
    var highest = LOWEST;
    for (var s = slot; s < splits; s += SLOTS) {
      highest = max(highest, partials[first + s * (QUADS + 1u) + QUADS].y);
    }
    var sum = vec4<f32>(0.0);
    var total = 0.0;
    for (var s = slot; s < splits; s += SLOTS) {
      let at = first + s * (QUADS + 1u);
      let split = partials[at + QUADS];
      let weight = exp(split.y - highest);
      sum += weight * partials[at + column];
      total += weight * split.x;
    }
    slot_sums[index] = sum;
    if (column == 0u) {
      slot_totals[slot] = vec2<f32>(total, highest);
    }
  }
  workgroupBarrier();
  if (index < QUADS) {
    var highest = LOWEST;
    for (var s = 0u; s < SLOTS; s++) {
      highest = max(highest, slot_totals[s].y);
    }
    var sum = vec4<f32>(0.0);
    var total = 0.0;
    for (var s = 0u; s < SLOTS; s++) {
      let weight = exp(slot_totals[s].y - highest);
      sum += weight * slot_sums[s * QUADS + index];
      total += weight * slot_totals[s].x;
    }
    y[workgroup.x * QUADS + index] = sum / total;
  }
}
