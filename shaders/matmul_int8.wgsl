// As matmul.wgsl, with inputs of 8 bits (lib/int8.wgsl), which each tile rounds for itself: by token row, and by 32 columns or the 16 that share
// a scale of the weights. A tile's weights stay codes. Sums of a block are exact integers; they meet the scales as f32.
// Invocation (i, j) owns the quads 2 i and 2 i + 1 and the token rows 4 j to 4 j + 3.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

const TILE_QUADS: u32 = 16u;
const TILE_K: u32 = 32u;
const TILE_UNITS: u32 = TILE_K / 8u;
const TILE_FOURS: u32 = TILE_TOKENS / 4u;
const WORKGROUP: u32 = TILE_QUADS / 2u * TILE_FOURS;

// A tile's blocks, and halves in each.
const BLOCKS: u32 = select(1u, 2u, UNITS_PER_BLOCK == 2u);
const HALVES: u32 = 2u / BLOCKS;

// Even quads before odd ones, so that neighbours read neighbouring 16 bytes. [half][word][quad % 2][quad / 2], words of 4 rows;
// and [block][quad % 2][quad / 2]. Nested, so that one index is computed, and held in bounds, for many reads.
var<workgroup> w_tile: array<array<array<array<vec4<u32>, TILE_QUADS / 2u>, 2>, 4>, 2>;
var<workgroup> w_scales: array<array<array<vec4<f32>, TILE_QUADS / 2u>, 2>, BLOCKS>;
var<workgroup> w_offsets: array<array<array<vec4<f32>, TILE_QUADS / 2u>, 2>, BLOCKS>;
// [half][word][token / 4][token % 4]; and [block][token / 4][token % 4], of a block's inputs the scale, and of their sum what an offset
// needs: CODE_OFFSET times it, or the bits of the scale times it. No vectors, for invocations that write neighbouring components of one may
// write all of it.
var<workgroup> x_tile: array<array<array<array<u32, 4>, TILE_FOURS>, 4>, 2>;
var<workgroup> x_scales: array<array<array<f32, 4>, TILE_FOURS>, BLOCKS>;
var<workgroup> x_sums: array<array<array<i32, 4>, TILE_FOURS>, BLOCKS>;

fn load_weights(expert: u32, at: u32, first_quad: u32, k: u32) {
  let quad = at % TILE_QUADS;
  let unit = at / TILE_QUADS;
  let source = (first_quad_of(expert) + min(first_quad + quad, QUADS - 1u)) * UNITS + k / 8u + unit;
  let codes = unit_quants(source);
  w_tile[unit / 2u][unit % 2u * 2u][quad % 2u][quad / 2u] = codes.lo;
  w_tile[unit / 2u][unit % 2u * 2u + 1u][quad % 2u][quad / 2u] = codes.hi;
  if (unit % (TILE_UNITS / BLOCKS) == 0u) {
    let scales = block_scales(source / UNITS_PER_BLOCK);
    let block = unit / (TILE_UNITS / BLOCKS);
    w_scales[block][quad % 2u][quad / 2u] = scales.scale;
    if (ADDS_OFFSET) {
      w_offsets[block][quad % 2u][quad / 2u] = scales.offset;
    }
  }
}

fn magnitudes(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> vec4<f32> {
  return max(max(abs(a), abs(b)), max(abs(c), abs(d)));
}

fn rounded(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, inverse: f32) -> vec4<u32> {
  return vec4<u32>(packed(a, inverse), packed(b, inverse), packed(c, inverse), packed(d, inverse));
}

fn of_offset(sum: i32, scale: f32) -> i32 {
  return select(CODE_OFFSET * sum, bitcast<i32>(scale * f32(sum)), ADDS_OFFSET);
}

// Rows beyond the end are read as if they were the last: no product with them is kept.
fn load_inputs(expert: u32, token: u32, first_token: u32, k: u32) {
  let first = x_row(expert, min(first_token + token, row_count(expert) - 1u)) * X_STRIDE + k / 4u;
  let x0 = x[first];
  let x1 = x[first + 1u];
  let x2 = x[first + 2u];
  let x3 = x[first + 3u];
  let x4 = x[first + 4u];
  let x5 = x[first + 5u];
  let x6 = x[first + 6u];
  let x7 = x[first + 7u];
  var largest_lo = largest_of(magnitudes(x0, x1, x2, x3));
  var largest_hi = largest_of(magnitudes(x4, x5, x6, x7));
  if (BLOCKS == 1u) {
    largest_lo = max(largest_lo, largest_hi);
    largest_hi = largest_lo;
  }
  let lo = rounded(x0, x1, x2, x3, 127.0 / largest_lo);
  let hi = rounded(x4, x5, x6, x7, 127.0 / largest_hi);
  let t = token % 4u;
  let j = token / 4u;
  x_tile[0][0][j][t] = lo.x;
  x_tile[0][1][j][t] = lo.y;
  x_tile[0][2][j][t] = lo.z;
  x_tile[0][3][j][t] = lo.w;
  x_tile[1][0][j][t] = hi.x;
  x_tile[1][1][j][t] = hi.y;
  x_tile[1][2][j][t] = hi.z;
  x_tile[1][3][j][t] = hi.w;
  let scale_lo = largest_lo * (1.0 / 127.0);
  let scale_hi = largest_hi * (1.0 / 127.0);
  x_scales[0][j][t] = scale_lo;
  x_scales[BLOCKS - 1u][j][t] = scale_hi;
  if (HAS_OFFSET) {
    var sum_lo = total(dots(lo, ONES));
    let sum_hi = total(dots(hi, ONES));
    if (BLOCKS == 1u) {
      sum_lo += sum_hi;
    } else {
      x_sums[BLOCKS - 1u][j][t] = of_offset(sum_hi, scale_hi);
    }
    x_sums[0][j][t] = of_offset(sum_lo, scale_lo);
  }
}

// What an invocation has of one quad for each of its 4 tokens.
struct Sums {
  t0: vec4<i32>,
  t1: vec4<i32>,
  t2: vec4<i32>,
  t3: vec4<i32>,
}

struct Products {
  t0: vec4<f32>,
  t1: vec4<f32>,
  t2: vec4<f32>,
  t3: vec4<f32>,
}

struct SumsOfQuads {
  a: Sums,
  b: Sums,
}

// What the sums of a block begin with.
fn first_sums(block: u32, j: u32) -> Sums {
  if (CODE_OFFSET == 0) {
    return Sums(vec4<i32>(0), vec4<i32>(0), vec4<i32>(0), vec4<i32>(0));
  }
  let first = x_sums[block][j];
  return Sums(vec4<i32>(first[0]), vec4<i32>(first[1]), vec4<i32>(first[2]), vec4<i32>(first[3]));
}

fn plus_word(sums: Sums, w: vec4<u32>, inputs: vec4<u32>) -> Sums {
  return Sums(sums.t0 + dots(w, inputs.x), sums.t1 + dots(w, inputs.y), sums.t2 + dots(w, inputs.z), sums.t3 + dots(w, inputs.w));
}

fn plus_words(sums: SumsOfQuads, half: u32, word: u32, i: u32, j: u32) -> SumsOfQuads {
  let inputs = vec4<u32>(x_tile[half][word][j][0], x_tile[half][word][j][1], x_tile[half][word][j][2], x_tile[half][word][j][3]);
  return SumsOfQuads(plus_word(sums.a, w_tile[half][word][0][i], inputs), plus_word(sums.b, w_tile[half][word][1][i], inputs));
}

// Written out: with a loop the compiler for AMD needs a tenth more instructions.
fn plus_half(sums: SumsOfQuads, half: u32, i: u32, j: u32) -> SumsOfQuads {
  return plus_words(plus_words(plus_words(plus_words(sums, half, 0u, i, j), half, 1u, i, j), half, 2u, i, j), half, 3u, i, j);
}

// Adds a block's sums for the even (parity 0) or the odd of an invocation's quads.
fn plus_scaled(products: Products, sums: Sums, block: u32, parity: u32, i: u32, j: u32) -> Products {
  let scale = w_scales[block][parity][i];
  let of_inputs = x_scales[block][j];
  var t0 = products.t0 + of_inputs[0] * scale * vec4<f32>(sums.t0);
  var t1 = products.t1 + of_inputs[1] * scale * vec4<f32>(sums.t1);
  var t2 = products.t2 + of_inputs[2] * scale * vec4<f32>(sums.t2);
  var t3 = products.t3 + of_inputs[3] * scale * vec4<f32>(sums.t3);
  if (ADDS_OFFSET) {
    let offset = w_offsets[block][parity][i];
    let inputs = x_sums[block][j];
    t0 += offset * bitcast<f32>(inputs[0]);
    t1 += offset * bitcast<f32>(inputs[1]);
    t2 += offset * bitcast<f32>(inputs[2]);
    t3 += offset * bitcast<f32>(inputs[3]);
  }
  return Products(t0, t1, t2, t3);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let first_quad = workgroup.x * TILE_QUADS;
  let first_token = workgroup.y * TILE_TOKENS;
  let expert = workgroup.z;
  if (first_token >= row_count(expert)) {
    return;
  }
  let i = index % (TILE_QUADS / 2u);
  let j = index / (TILE_QUADS / 2u);
  var a = Products(vec4<f32>(0.0), vec4<f32>(0.0), vec4<f32>(0.0), vec4<f32>(0.0));
  var b = Products(vec4<f32>(0.0), vec4<f32>(0.0), vec4<f32>(0.0), vec4<f32>(0.0));
  for (var k = 0u; k < K; k += TILE_K) {
    // 64 units and TILE_TOKENS inputs: with 128 invocations one of them each, and half of a workgroup does nothing else.
    if (index < TILE_QUADS * TILE_UNITS) {
      load_weights(expert, index, first_quad, k);
    }
    if (index >= WORKGROUP - TILE_TOKENS) {
      load_inputs(expert, index - (WORKGROUP - TILE_TOKENS), first_token, k);
    }
    workgroupBarrier();
    for (var block = 0u; block < BLOCKS; block++) {
      let first = first_sums(block, j);
      var sums = plus_half(SumsOfQuads(first, first), HALVES * block, i, j);
      if (HALVES == 2u) {
        sums = plus_half(sums, 1u, i, j);
      }
      a = plus_scaled(a, sums.a, block, 0u, i, j);
      b = plus_scaled(b, sums.b, block, 1u, i, j);
    }
    workgroupBarrier();
  }
  if (first_quad + 2u * i >= QUADS) {
    return;
  }
  for (var t = 0u; t < 4u; t++) {
    let token = first_token + 4u * j + t;
    if (token < row_count(expert)) {
      let a_t = select(select(a.t0, a.t1, t == 1u), select(a.t2, a.t3, t == 3u), t >= 2u);
      let b_t = select(select(b.t0, b.t1, t == 1u), select(b.t2, b.t3, t == 3u), t >= 2u);
      _ = finish(y_row(expert, token), first_quad / 2u + i, a_t, b_t);
    }
  }
}
