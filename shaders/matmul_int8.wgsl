// As matmul.wgsl, with inputs of 8 bits (lib/int8.wgsl), which each tile rounds for itself: by token row, and by 32 columns or the 16 that share
// a scale of the weights. A tile's weights stay codes. Sums of a block are exact integers; they meet the scales as f32.
// Invocation (i, j) owns the quads 2 i and 2 i + 1 and the token rows j, j + TILE_FOURS, j + 2 TILE_FOURS and j + 3 TILE_FOURS.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

const TILE_QUADS: u32 = 16u;
const TILE_K: u32 = 32u;
const TILE_UNITS: u32 = TILE_K / 8u;
const TILE_FOURS: u32 = TILE_TOKENS / 4u;
const WORKGROUP: u32 = TILE_QUADS / 2u * TILE_FOURS;

// A tile's blocks, and halves of 16 columns in each.
const BLOCKS: u32 = select(1u, 2u, UNITS_PER_BLOCK == 2u);
const HALVES: u32 = 2u / BLOCKS;

// Even quads before odd ones. [columns / 4][quad], words of 4 rows; and [block][quad].
var<workgroup> w_tile: array<vec4<u32>, TILE_K / 4u * TILE_QUADS>;
var<workgroup> w_scales: array<vec4<f32>, BLOCKS * TILE_QUADS>;
var<workgroup> w_offsets: array<vec4<f32>, BLOCKS * TILE_QUADS>;
// [half][token], 16 columns of one token; and [block][token], the scale and the scaled sum of a block's inputs.
var<workgroup> x_tile: array<vec4<u32>, 2u * TILE_TOKENS>;
var<workgroup> x_scales: array<vec2<f32>, BLOCKS * TILE_TOKENS>;

fn load_weights(expert: u32, at: u32, first_quad: u32, k: u32) {
  let quad = at % TILE_QUADS;
  let unit = at / TILE_QUADS;
  let source = (first_quad_of(expert) + min(first_quad + quad, QUADS - 1u)) * UNITS + k / 8u + unit;
  let codes = unit_quants(source);
  let place = (quad % 2u) * (TILE_QUADS / 2u) + quad / 2u;
  w_tile[2u * unit * TILE_QUADS + place] = codes.lo;
  w_tile[(2u * unit + 1u) * TILE_QUADS + place] = codes.hi;
  if (unit % (TILE_UNITS / BLOCKS) == 0u) {
    let scales = block_scales(source / UNITS_PER_BLOCK);
    let block = unit / (TILE_UNITS / BLOCKS);
    w_scales[block * TILE_QUADS + place] = scales.scale;
    if (HAS_OFFSET) {
      w_offsets[block * TILE_QUADS + place] = scales.offset;
    }
  }
}

fn magnitudes(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> vec4<f32> {
  return max(max(abs(a), abs(b)), max(abs(c), abs(d)));
}

fn rounded(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, inverse: f32) -> vec4<u32> {
  return vec4<u32>(packed(a, inverse), packed(b, inverse), packed(c, inverse), packed(d, inverse));
}

fn scale_and_sum(largest: f32, sums: vec4<i32>) -> vec2<f32> {
  let scale = largest * (1.0 / 127.0);
  return vec2<f32>(scale, scale * f32(sums.x + sums.y + sums.z + sums.w));
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
  x_tile[token] = lo;
  x_tile[TILE_TOKENS + token] = hi;
  if (BLOCKS == 1u) {
    x_scales[token] = scale_and_sum(largest_lo, dots(lo, ONES) + dots(hi, ONES));
  } else {
    x_scales[token] = scale_and_sum(largest_lo, dots(lo, ONES));
    x_scales[(BLOCKS - 1u) * TILE_TOKENS + token] = scale_and_sum(largest_hi, dots(hi, ONES));
  }
}

// Something of 4 rows for each of an invocation's 4 tokens.
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

// 16 columns of each of the tokens.
struct Inputs {
  t0: vec4<u32>,
  t1: vec4<u32>,
  t2: vec4<u32>,
  t3: vec4<u32>,
}

fn inputs_at(at: u32) -> Inputs {
  return Inputs(x_tile[at], x_tile[at + TILE_FOURS], x_tile[at + 2u * TILE_FOURS], x_tile[at + 3u * TILE_FOURS]);
}

fn plus_half(sums: Sums, at: u32, inputs: Inputs) -> Sums {
  let w0 = w_tile[at];
  let w1 = w_tile[at + TILE_QUADS];
  let w2 = w_tile[at + 2u * TILE_QUADS];
  let w3 = w_tile[at + 3u * TILE_QUADS];
  return Sums(
    sums.t0 + dots(w0, inputs.t0.x) + dots(w1, inputs.t0.y) + dots(w2, inputs.t0.z) + dots(w3, inputs.t0.w),
    sums.t1 + dots(w0, inputs.t1.x) + dots(w1, inputs.t1.y) + dots(w2, inputs.t1.z) + dots(w3, inputs.t1.w),
    sums.t2 + dots(w0, inputs.t2.x) + dots(w1, inputs.t2.y) + dots(w2, inputs.t2.z) + dots(w3, inputs.t2.w),
    sums.t3 + dots(w0, inputs.t3.x) + dots(w1, inputs.t3.y) + dots(w2, inputs.t3.z) + dots(w3, inputs.t3.w),
  );
}

fn plus_block(products: Products, block: u32, quad: u32, token: u32, lo: Inputs, hi: Inputs) -> Products {
  let none = vec4<i32>(0);
  var sums = plus_half(Sums(none, none, none, none), HALVES * block * 4u * TILE_QUADS + quad, lo);
  if (HALVES == 2u) {
    sums = plus_half(sums, 4u * TILE_QUADS + quad, hi);
  }
  let scale = w_scales[block * TILE_QUADS + quad];
  let at = block * TILE_TOKENS + token;
  let s0 = x_scales[at];
  let s1 = x_scales[at + TILE_FOURS];
  let s2 = x_scales[at + 2u * TILE_FOURS];
  let s3 = x_scales[at + 3u * TILE_FOURS];
  var t0 = products.t0 + s0.x * scale * vec4<f32>(sums.t0);
  var t1 = products.t1 + s1.x * scale * vec4<f32>(sums.t1);
  var t2 = products.t2 + s2.x * scale * vec4<f32>(sums.t2);
  var t3 = products.t3 + s3.x * scale * vec4<f32>(sums.t3);
  if (HAS_OFFSET) {
    let offset = w_offsets[block * TILE_QUADS + quad];
    t0 += offset * s0.y;
    t1 += offset * s1.y;
    t2 += offset * s2.y;
    t3 += offset * s3.y;
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
  let none = vec4<f32>(0.0);
  var a = Products(none, none, none, none);
  var b = Products(none, none, none, none);
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
      let lo = inputs_at(HALVES * block * TILE_TOKENS + j);
      var hi = lo;
      if (HALVES == 2u) {
        hi = inputs_at(TILE_TOKENS + j);
      }
      a = plus_block(a, block, i, j, lo, hi);
      b = plus_block(b, block, TILE_QUADS / 2u + i, j, lo, hi);
    }
    workgroupBarrier();
  }
  if (first_quad + 2u * i >= QUADS) {
    return;
  }
  for (var t = 0u; t < 4u; t++) {
    let token = first_token + j + t * TILE_FOURS;
    if (token < row_count(expert)) {
      let a_t = select(select(a.t0, a.t1, t == 1u), select(a.t2, a.t3, t == 3u), t >= 2u);
      let b_t = select(select(b.t0, b.t1, t == 1u), select(b.t2, b.t3, t == 3u), t >= 2u);
      _ = finish(y_row(expert, token), first_quad / 2u + i, a_t, b_t);
    }
  }
}
