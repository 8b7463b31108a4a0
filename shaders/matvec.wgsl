// W x for one vector: (ROWS, K) times (K). What becomes of the products is up to the finish fragment.
// GROUP invocations share two quads of rows, so that every x is read for 8 rows, and split their columns among them in runs of RUN units.
// A run lies within one block, and its weights stay unscaled until its sum is complete.
//
// NORM_PARTIALS > 0: x is a row of the residual stream times the weight of an RMSNorm (Zhang and Sennrich 2019), and behind it lie that many
// sums of the row's squares. The norm's factor is common to the row, so it may wait until after the product.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

const PAIRS: u32 = (QUADS + 1u) / 2u;
const UNITS: u32 = K / 8u;

fn norm_factor(index: u32, subgroup: u32) -> f32 {
  var squares = vec4<f32>(0.0);
  for (var i = index % GROUP; i < NORM_PARTIALS; i += GROUP) {
    squares += x[K / 4u + i];
  }
  return inverseSqrt(dot(group_sum4(squares, index, subgroup), vec4<f32>(1.0)) / f32(K) + NORM_EPSILON);
}

fn kernel(index: u32, subgroup: u32, workgroup: vec3<u32>, workgroups: vec3<u32>) {
  let lane = index % GROUP;
  let group = workgroup.y * workgroups.x + workgroup.x;
  let pair = group * (WORKGROUP / GROUP) + index / GROUP;
  var sums_a = vec4<f32>(0.0);
  var sums_b = vec4<f32>(0.0);
  if (pair < PAIRS) {
    let quad_a = 2u * pair;
    // An odd last quad is its own partner.
    let quad_b = min(quad_a + 1u, QUADS - 1u);
    for (var first = lane * RUN; first < UNITS; first += GROUP * RUN) {
      // Chromium zeroes a variable without an initializer once, not in every turn of the loop.
      var products_a = vec4<f32>(0.0);
      var products_b = vec4<f32>(0.0);
      var inputs = vec4<f32>(0.0);
      for (var i = 0u; i < RUN; i++) {
        let unit = first + i;
        let x_lo = x[2u * unit];
        let x_hi = x[2u * unit + 1u];
        // One quad after the other: compilers keep all the weights that a quad is unpacked to in registers.
        let a = unit_quants(quad_a * UNITS + unit);
        products_a += a.lo * x_lo + a.hi * x_hi;
        let b = unit_quants(quad_b * UNITS + unit);
        products_b += b.lo * x_lo + b.hi * x_hi;
        if (HAS_OFFSET) {
          inputs += x_lo + x_hi;
        }
      }
      let scales_a = block_scales((quad_a * UNITS + first) / UNITS_PER_BLOCK);
      let scales_b = block_scales((quad_b * UNITS + first) / UNITS_PER_BLOCK);
      sums_a += scales_a.scale * products_a;
      sums_b += scales_b.scale * products_b;
      if (HAS_OFFSET) {
        let input = dot(inputs, vec4<f32>(1.0));
        sums_a += scales_a.offset * input;
        sums_b += scales_b.offset * input;
      }
    }
  }
  var factor = 1.0;
  if (NORM_PARTIALS > 0u) {
    factor = norm_factor(index, subgroup);
  }
  let a = factor * group_sum4(sums_a, index, subgroup);
  let b = factor * group_sum4(sums_b, index, subgroup);
  var carried = vec4<u32>(0u);
  if (lane == 0u && pair < PAIRS) {
    carried = finish(0u, pair, a, b);
  }
  close(0u, carried, index, group);
}
