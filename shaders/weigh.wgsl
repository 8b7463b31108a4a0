// Prepares the RMSNorm of row 0, which the matvec behind it completes: see matvec.wgsl. One workgroup.
// `weighted` becomes that row of x times the norm's weight, and behind it PARTIALS vec4 whose components sum up to its sum of squares.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> norm_weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> weighted: array<vec4<f32>>;

fn kernel(index: u32, subgroup: u32, workgroup: vec3<u32>, workgroups: vec3<u32>) {
  var squares = vec4<f32>(0.0);
  for (var i = index; i < K / 4u; i += WORKGROUP) {
    let value = x[i];
    weighted[i] = value * norm_weight[i];
    squares += value * value;
  }
  let sum = group_sum4(squares, index, subgroup);
  for (var i = index; i < PARTIALS; i += WORKGROUP) {
    weighted[K / 4u + i] = select(vec4<f32>(0.0), sum, i == 0u);
  }
}
