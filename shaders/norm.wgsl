// A norm of rows of K, one workgroup a row: RMSNorm (Zhang and Sennrich 2019), y = x / sqrt(mean(x^2) + EPSILON) * weight, or with CENTER
// LayerNorm (Ba et al. 2016), where x is less its mean. ACCUMULATE adds y to what is there: a norm behind a half of a block.
// PREPARE, for one row: the sum is the residual stream, and its next RMSNorm is prepared as weigh.wgsl does.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

const QUADS: u32 = K / 4u;

fn kernel(index: u32, subgroup: u32, workgroup: vec3<u32>, workgroups: vec3<u32>) {
  let first = workgroup.y * QUADS;
  var mean = 0.0;
  if (CENTER) {
    var sum = vec4<f32>(0.0);
    for (var i = index; i < QUADS; i += WORKGROUP) {
      sum += x[first + i];
    }
    mean = group_sum(dot(sum, vec4<f32>(1.0)), index, subgroup) / f32(K);
  }
  var squares = vec4<f32>(0.0);
  for (var i = index; i < QUADS; i += WORKGROUP) {
    let centered = x[first + i] - mean;
    squares += centered * centered;
  }
  let variance = group_sum(dot(squares, vec4<f32>(1.0)), index, subgroup) / f32(K);
  let factor = inverseSqrt(variance + EPSILON);
  squares = vec4<f32>(0.0);
  for (var i = index; i < QUADS; i += WORKGROUP) {
    var value = NORM_SCALE * biased(i, (x[first + i] - mean) * factor * weight[i]);
    if (ACCUMULATE) {
      value += y[first + i];
    }
    y[first + i] = value;
    squares += prepare(i, value);
  }
  hand_over(squares, index, subgroup);
}
