// A gated linear unit (Shazeer 2020): y = activation(gate) * up. Gate and up stand side by side in a row of x.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let i = workgroup.x * 64u + index;
  if (i >= K / 4u) {
    return;
  }
  let gate = x[workgroup.y * X_STRIDE + i];
  let up = x[workgroup.y * X_STRIDE + UP_FIRST + i];
  y[workgroup.y * Y_STRIDE + i] = activated(gate) * up;
}
