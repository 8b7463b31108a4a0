// RMSNorm (Zhang and Sennrich 2019): y = x / sqrt(mean(x^2) + EPSILON) * weight, one workgroup a row of K.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn kernel(index: u32, subgroup: u32, workgroup: vec3<u32>, workgroups: vec3<u32>) {
  let first = workgroup.y * (K / 4u);
  var squares = vec4<f32>(0.0);
  for (var i = index; i < K / 4u; i += WORKGROUP) {
    squares += x[first + i] * x[first + i];
  }
  let mean = group_sum(dot(squares, vec4<f32>(1.0)), index, subgroup) / f32(K);
  let factor = inverseSqrt(mean + EPSILON);
  for (var i = index; i < K / 4u; i += WORKGROUP) {
    y[first + i] = x[first + i] * factor * weight[i];
  }
}
