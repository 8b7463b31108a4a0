// What one lane of the group has of quads quad_a and quad_b of the matrix, times the vector that begins at x[first_x].
fn pair_product(quad_a: u32, quad_b: u32, first_x: u32, lane: u32) -> Pair {
  var sums_a = vec4<f32>(0.0);
  var sums_b = vec4<f32>(0.0);
  for (var first = lane * RUN; first < UNITS; first += GROUP * RUN) {
    // Chromium zeroes a variable without an initializer once, not in every turn of the loop.
    var products_a = vec4<f32>(0.0);
    var products_b = vec4<f32>(0.0);
    var inputs = vec4<f32>(0.0);
    for (var i = 0u; i < RUN; i++) {
      let unit = first + i;
      let x_lo = x[first_x + 2u * unit];
      let x_hi = x[first_x + 2u * unit + 1u];
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
  return Pair(sums_a, sums_b);
}
