// Two quads of rows times one vector: what the products with one vector have in common.
// GROUP invocations share two quads, so that every x is read for 8 rows, and split their columns among them in runs of RUN units.
// A run lies within one block, and its weights stay unscaled until its sum is complete. lib/pair_*.wgsl multiply.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

const PAIRS: u32 = (QUADS + 1u) / 2u;
const UNITS: u32 = K / 8u;

struct Pair {
  a: vec4<f32>,
  b: vec4<f32>,
}

// NORM_PARTIALS > 0: x is a row of the residual stream times the weight of an RMSNorm (Zhang and Sennrich 2019), and behind it lie that many
// sums of the row's squares. The norm's factor is common to the row, so it may wait until after the product. Without a norm it is 1.
fn norm_factor(index: u32, subgroup: u32) -> f32 {
  if (NORM_PARTIALS == 0u) {
    return 1.0;
  }
  var squares = vec4<f32>(0.0);
  for (var i = index % GROUP; i < NORM_PARTIALS; i += GROUP) {
    squares += x[K / 4u + i];
  }
  return inverseSqrt(dot(group_sum4(squares, index, subgroup), vec4<f32>(1.0)) / f32(K) + NORM_EPSILON);
}
