// As pair_f32.wgsl, with inputs of 8 bits (lib/int8.wgsl). A run is a block of inputs: 16 columns (RUN = 2) or 32 (RUN = 4). Sums of a block are
// exact integers; they meet the scales as f32.

// lo holds the columns 0 to 15 of a block, hi 16 to 31; sum is that of all of them, where an offset needs it.
struct Inputs {
  lo: vec4<u32>,
  hi: vec4<u32>,
  scale: f32,
  sum: i32,
}

fn inputs_from(first: u32) -> Inputs {
  let x0 = x[first];
  let x1 = x[first + 1u];
  let x2 = x[first + 2u];
  let x3 = x[first + 3u];
  var x4 = vec4<f32>(0.0);
  var x5 = vec4<f32>(0.0);
  var x6 = vec4<f32>(0.0);
  var x7 = vec4<f32>(0.0);
  if (RUN > 2u) {
    x4 = x[first + 4u];
    x5 = x[first + 5u];
    x6 = x[first + 6u];
    x7 = x[first + 7u];
  }
  let magnitudes_lo = max(max(abs(x0), abs(x1)), max(abs(x2), abs(x3)));
  let magnitudes_hi = max(max(abs(x4), abs(x5)), max(abs(x6), abs(x7)));
  let largest = largest_of(max(magnitudes_lo, magnitudes_hi));
  let inverse = 127.0 / largest;
  let lo = vec4<u32>(packed(x0, inverse), packed(x1, inverse), packed(x2, inverse), packed(x3, inverse));
  var hi = vec4<u32>(0u);
  if (RUN > 2u) {
    hi = vec4<u32>(packed(x4, inverse), packed(x5, inverse), packed(x6, inverse), packed(x7, inverse));
  }
  var sum = 0;
  if (HAS_OFFSET) {
    sum = total(dots(lo, ONES) + dots(hi, ONES));
  }
  return Inputs(lo, hi, largest * (1.0 / 127.0), sum);
}

// What the block that begins at `unit` of a quad gives.
fn quad_product(unit: u32, inputs: Inputs) -> vec4<f32> {
  let unit_0 = unit_quants(unit);
  let unit_1 = unit_quants(unit + 1u);
  var sums = vec4<i32>(CODE_OFFSET * inputs.sum);
  sums += dots(unit_0.lo, inputs.lo.x) + dots(unit_0.hi, inputs.lo.y) + dots(unit_1.lo, inputs.lo.z) + dots(unit_1.hi, inputs.lo.w);
  if (RUN > 2u) {
    let unit_2 = unit_quants(unit + 2u);
    let unit_3 = unit_quants(unit + 3u);
    sums += dots(unit_2.lo, inputs.hi.x) + dots(unit_2.hi, inputs.hi.y) + dots(unit_3.lo, inputs.hi.z) + dots(unit_3.hi, inputs.hi.w);
  }
  let scales = block_scales(unit / UNITS_PER_BLOCK);
  var product = scales.scale * vec4<f32>(sums);
  if (ADDS_OFFSET) {
    product += scales.offset * f32(inputs.sum);
  }
  return inputs.scale * product;
}

// What one lane of the group has of quads quad_a and quad_b of the matrix, times the vector that begins at x[first_x].
fn pair_product(quad_a: u32, quad_b: u32, first_x: u32, lane: u32) -> Pair {
  var sums_a = vec4<f32>(0.0);
  var sums_b = vec4<f32>(0.0);
  for (var first = lane * RUN; first < UNITS; first += GROUP * RUN) {
    let inputs = inputs_from(first_x + 2u * first);
    sums_a += quad_product(quad_a * UNITS + first, inputs);
    sums_b += quad_product(quad_b * UNITS + first, inputs);
  }
  return Pair(sums_a, sums_b);
}
