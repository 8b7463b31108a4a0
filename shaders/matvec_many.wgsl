// As matvec.wgsl, for COLUMNS vectors at once, stored one after the other. A kernel of its own, because not every compiler keeps arrays of
// one element in registers.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

const PAIRS: u32 = (QUADS + 1u) / 2u;
const UNITS: u32 = K / 8u;

fn norm_factor(column: u32, index: u32, subgroup: u32) -> f32 {
  var squares = vec4<f32>(0.0);
  for (var i = index % GROUP; i < NORM_PARTIALS; i += GROUP) {
    squares += x[column * X_STRIDE + K / 4u + i];
  }
  return inverseSqrt(dot(group_sum4(squares, index, subgroup), vec4<f32>(1.0)) / f32(K) + NORM_EPSILON);
}

fn kernel(index: u32, subgroup: u32, workgroup: vec3<u32>, workgroups: vec3<u32>) {
  let lane = index % GROUP;
  let group = workgroup.y * workgroups.x + workgroup.x;
  let pair = group * (WORKGROUP / GROUP) + index / GROUP;
  var sums_a = array<vec4<f32>, COLUMNS>();
  var sums_b = array<vec4<f32>, COLUMNS>();
  if (pair < PAIRS) {
    let quad_a = 2u * pair;
    // An odd last quad is its own partner.
    let quad_b = min(quad_a + 1u, QUADS - 1u);
    for (var first = lane * RUN; first < UNITS; first += GROUP * RUN) {
      // Chromium zeroes a variable without an initializer once, not in every turn of the loop.
      var products_a = array<vec4<f32>, COLUMNS>();
      var products_b = array<vec4<f32>, COLUMNS>();
      var inputs = array<vec4<f32>, COLUMNS>();
      for (var i = 0u; i < RUN; i++) {
        let unit = first + i;
        // One quad after the other: compilers keep all the weights that a quad is unpacked to in registers.
        let a = unit_quants(quad_a * UNITS + unit);
        for (var column = 0u; column < COLUMNS; column++) {
          let x_lo = x[column * X_STRIDE + 2u * unit];
          let x_hi = x[column * X_STRIDE + 2u * unit + 1u];
          products_a[column] += a.lo * x_lo + a.hi * x_hi;
          if (HAS_OFFSET) {
            inputs[column] += x_lo + x_hi;
          }
        }
        let b = unit_quants(quad_b * UNITS + unit);
        for (var column = 0u; column < COLUMNS; column++) {
          products_b[column] += b.lo * x[column * X_STRIDE + 2u * unit] + b.hi * x[column * X_STRIDE + 2u * unit + 1u];
        }
      }
      let scales_a = block_scales((quad_a * UNITS + first) / UNITS_PER_BLOCK);
      let scales_b = block_scales((quad_b * UNITS + first) / UNITS_PER_BLOCK);
      for (var column = 0u; column < COLUMNS; column++) {
        sums_a[column] += scales_a.scale * products_a[column];
        sums_b[column] += scales_b.scale * products_b[column];
        if (HAS_OFFSET) {
          let input = dot(inputs[column], vec4<f32>(1.0));
          sums_a[column] += scales_a.offset * input;
          sums_b[column] += scales_b.offset * input;
        }
      }
    }
  }
  for (var column = 0u; column < COLUMNS; column++) {
    var factor = 1.0;
    if (NORM_PARTIALS > 0u) {
      factor = norm_factor(column, index, subgroup);
    }
    let a = factor * group_sum4(sums_a[column], index, subgroup);
    let b = factor * group_sum4(sums_b[column], index, subgroup);
    var carried = vec4<u32>(0u);
    if (lane == 0u && pair < PAIRS) {
      carried = finish(column, pair, a, b);
    }
    close(column, carried, index, group);
  }
}
