// The products are added to the residual stream, and the next RMSNorm is prepared: `weighted` becomes the row times that norm's weight,
// and behind it, at K / 4 + PARTIAL_FIRST + workgroup, stands the sum of the squares of this workgroup's elements.

@group(0) @binding(3) var<storage, read> step: Step;
@group(0) @binding(4) var<storage, read_write> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> norm_weight: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> weighted: array<vec4<f32>>;

var<workgroup> group_squares: array<vec4<f32>, WORKGROUP / GROUP>;

fn add(token: u32, quad: u32, value: vec4<f32>) -> vec4<f32> {
  let sum = residual[token * RESIDUAL_STRIDE + quad] + outcome(quad, value);
  residual[token * RESIDUAL_STRIDE + quad] = sum;
  weighted[token * WEIGHTED_STRIDE + quad] = sum * norm_weight[quad];
  return sum * sum;
}

fn finish(token: u32, pair: u32, a: vec4<f32>, b: vec4<f32>) -> vec4<u32> {
  var squares = add(token, Y_FIRST + 2u * pair, a);
  if (2u * pair + 1u < QUADS) {
    squares += add(token, Y_FIRST + 2u * pair + 1u, b);
  }
  return bitcast<vec4<u32>>(squares);
}

fn close(token: u32, carried: vec4<u32>, index: u32, workgroup: u32) {
  if (index % GROUP == 0u) {
    group_squares[index / GROUP] = bitcast<vec4<f32>>(carried);
  }
  workgroupBarrier();
  if (index == 0u && workgroup * (WORKGROUP / GROUP) < PAIRS) {
    var sum = vec4<f32>(0.0);
    for (var group = 0u; group < WORKGROUP / GROUP; group++) {
      sum += group_squares[group];
    }
    weighted[token * WEIGHTED_STRIDE + RESIDUAL_STRIDE + PARTIAL_FIRST + workgroup] = sum;
  }
  workgroupBarrier();
}
