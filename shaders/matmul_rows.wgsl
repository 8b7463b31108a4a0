// As matmul.wgsl, but nothing passes through workgroup memory: each invocation keeps the weights of its own quad of rows in registers, a unit at a
// time, and the four invocations of a subgroup's quad share their inputs, each loading those of every fourth token row. A workgroup makes a tile
// of 4 WORKGROUP weight rows by 16 token rows; each weight is dequantized for every 16 of them.
// Sums are named one by one: not every compiler keeps an array in registers.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

const TILE_TOKENS: u32 = 16u;
const UNITS: u32 = K / 8u;

// Of one quad of rows and 16 token rows.
struct Sums {
  s0: vec4<f32>,
  s1: vec4<f32>,
  s2: vec4<f32>,
  s3: vec4<f32>,
  s4: vec4<f32>,
  s5: vec4<f32>,
  s6: vec4<f32>,
  s7: vec4<f32>,
  s8: vec4<f32>,
  s9: vec4<f32>,
  s10: vec4<f32>,
  s11: vec4<f32>,
  s12: vec4<f32>,
  s13: vec4<f32>,
  s14: vec4<f32>,
  s15: vec4<f32>,
}

// A sum and four more products, one after the other, so that each is one fused operation where there are such.
fn summed(sum: vec4<f32>, w: mat4x4<f32>, x: vec4<f32>) -> vec4<f32> {
  return (((sum + w[0] * x.x) + w[1] * x.y) + w[2] * x.z) + w[3] * x.w;
}

// Adds the products with columns 4 k4 to 4 k4 + 3. `rows` are where this invocation's four token rows begin; lane l of a quad gets those of lane
// l ^ i for sum i of four.
fn add(sums: ptr<function, Sums>, w: mat4x4<f32>, rows: vec4<u32>, k4: u32) {
  let a = x[rows.x + k4];
  (*sums).s0 = summed((*sums).s0, w, a);
  (*sums).s1 = summed((*sums).s1, w, quadSwapX(a));
  (*sums).s2 = summed((*sums).s2, w, quadSwapY(a));
  (*sums).s3 = summed((*sums).s3, w, quadSwapDiagonal(a));
  let b = x[rows.y + k4];
  (*sums).s4 = summed((*sums).s4, w, b);
  (*sums).s5 = summed((*sums).s5, w, quadSwapX(b));
  (*sums).s6 = summed((*sums).s6, w, quadSwapY(b));
  (*sums).s7 = summed((*sums).s7, w, quadSwapDiagonal(b));
  let c = x[rows.z + k4];
  (*sums).s8 = summed((*sums).s8, w, c);
  (*sums).s9 = summed((*sums).s9, w, quadSwapX(c));
  (*sums).s10 = summed((*sums).s10, w, quadSwapY(c));
  (*sums).s11 = summed((*sums).s11, w, quadSwapDiagonal(c));
  let d = x[rows.w + k4];
  (*sums).s12 = summed((*sums).s12, w, d);
  (*sums).s13 = summed((*sums).s13, w, quadSwapX(d));
  (*sums).s14 = summed((*sums).s14, w, quadSwapY(d));
  (*sums).s15 = summed((*sums).s15, w, quadSwapDiagonal(d));
}

fn scaled(w: mat4x4<f32>, scales: Scales) -> mat4x4<f32> {
  return mat4x4<f32>(
    scales.scale * w[0] + scales.offset,
    scales.scale * w[1] + scales.offset,
    scales.scale * w[2] + scales.offset,
    scales.scale * w[3] + scales.offset,
  );
}

// Finishes the four tokens that a quad shares: even invocations have the first quad of rows of a pair, the odd ones beside them the second.
fn finish_four(index: u32, lane: u32, pair: u32, token: u32, s0: vec4<f32>, s1: vec4<f32>, s2: vec4<f32>, s3: vec4<f32>) {
  let other0 = quadSwapX(s1);
  let other1 = quadSwapX(s0);
  let other2 = quadSwapX(s3);
  let other3 = quadSwapX(s2);
  if (index % 2u == 1u || 2u * pair >= QUADS) {
    return;
  }
  for (var i = 0u; i < 4u; i++) {
    let own = token + ((lane % 4u) ^ i);
    if (own < step.rows) {
      let a = select(select(s0, s1, i == 1u), select(s2, s3, i == 3u), i >= 2u);
      let b = select(select(other0, other1, i == 1u), select(other2, other3, i == 3u), i >= 2u);
      _ = finish(own, pair, a, b);
    }
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(workgroup_id) workgroup: vec3<u32>,
) {
  let first_token = workgroup.x * TILE_TOKENS;
  if (first_token >= step.rows) {
    return;
  }
  let own = workgroup.y * WORKGROUP + index;
  let quad = min(own, QUADS - 1u);
  // Rows beyond the end are read as if they were the last: no product with them is kept.
  let tokens = min(vec4<u32>(first_token + lane % 4u) + vec4<u32>(0u, 4u, 8u, 12u), vec4<u32>(step.rows - 1u));
  let rows = tokens * X_STRIDE;
  var sums = Sums();
  for (var first = 0u; first < UNITS; first += UNITS_PER_BLOCK) {
    let scales = block_scales((quad * UNITS + first) / UNITS_PER_BLOCK);
    for (var unit = first; unit < first + UNITS_PER_BLOCK; unit++) {
      let w = unit_quants(quad * UNITS + unit);
      add(&sums, scaled(w.lo, scales), rows, 2u * unit);
      add(&sums, scaled(w.hi, scales), rows, 2u * unit + 1u);
    }
  }
  finish_four(index, lane, own / 2u, first_token, sums.s0, sums.s1, sums.s2, sums.s3);
  finish_four(index, lane, own / 2u, first_token + 4u, sums.s4, sums.s5, sums.s6, sums.s7);
  finish_four(index, lane, own / 2u, first_token + 8u, sums.s8, sums.s9, sums.s10, sums.s11);
  finish_four(index, lane, own / 2u, first_token + 12u, sums.s12, sums.s13, sums.s14, sums.s15);
}
