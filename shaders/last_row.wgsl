// The step's last row becomes its only one: its residual stream and its queries move to row 0, and the step to its position. One workgroup.

@group(0) @binding(0) var<storage, read_write> residual: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> step: Step;

const WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) index: u32) {
  let last = step.rows - 1u;
  for (var i = index; i < K / 4u; i += WORKGROUP) {
    residual[i] = residual[last * (K / 4u) + i];
  }
  for (var i = index; i < QUERIES / 4u; i += WORKGROUP) {
    q[i] = q[last * (QUERIES / 4u) + i];
  }
  // All have read how many rows there were.
  storageBarrier();
  if (index == 0u) {
    step.position += last;
    step.rows = 1u;
  }
}
