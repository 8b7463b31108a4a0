// The outputs of the experts that were chosen for a token row, added up: y += SCALE * sum of its USED rows of x.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let quad = workgroup.x * 64u + index;
  if (quad >= K / 4u) {
    return;
  }
  var sum = vec4<f32>(0.0);
  for (var choice = 0u; choice < USED; choice++) {
    sum += x[(workgroup.y * USED + choice) * (K / 4u) + quad];
  }
  y[workgroup.y * (K / 4u) + quad] += SCALE * sum;
}
