// As matmul.wgsl, but nothing passes through workgroup memory: each invocation keeps the weights of its own quad of rows in registers, a unit at a
// time, and gets inputs from LANES invocations of its subgroup (lib/lanes_*.wgsl). A workgroup makes a tile of 4 WORKGROUP weight rows by 16 token
// rows; each weight is dequantized for every 16 of them.
// Sums are named one by one: not every compiler keeps an array in registers.

const TILE_TOKENS: u32 = 16u;
const UNITS: u32 = K / 8u;

fn scaled(w: mat4x4<f32>, scales: Scales) -> mat4x4<f32> {
  return mat4x4<f32>(
    scales.scale * w[0] + scales.offset,
    scales.scale * w[1] + scales.offset,
    scales.scale * w[2] + scales.offset,
    scales.scale * w[3] + scales.offset,
  );
}

// Finishes four sums, the first of them sum `first`: even invocations have the first quad of rows of a pair, the odd ones beside them the second.
fn finish_four(index: u32, lane: u32, pair: u32, first_token: u32, first: u32, s0: vec4<f32>, s1: vec4<f32>, s2: vec4<f32>, s3: vec4<f32>) {
  let other0 = quadSwapX(s1);
  let other1 = quadSwapX(s0);
  let other2 = quadSwapX(s3);
  let other3 = quadSwapX(s2);
  // No early return: the next sums are exchanged by all lanes together.
  if (index % 2u == 0u && 2u * pair < QUADS) {
    for (var i = 0u; i < 4u; i++) {
      let token = first_token + ((first + i) ^ (lane % LANES));
      if (token < step.rows) {
        let a = select(select(s0, s1, i == 1u), select(s2, s3, i == 3u), i >= 2u);
        let b = select(select(other0, other1, i == 1u), select(other2, other3, i == 3u), i >= 2u);
        _ = finish(token, pair, a, b);
      }
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
  let tokens = min(vec4<u32>(first_token + lane % LANES) + LANES * vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(step.rows - 1u));
  let rows = tokens * X_STRIDE;
  var sums = Sums();
  var block = quad * (UNITS / UNITS_PER_BLOCK);
  var scales = Scales();
  // One loop, not one within another: SwiftShader goes through the body of a `for` once more than it turns, and copies the
  // sums in every turn.
  for (var unit = 0u; unit < UNITS; unit += TURN) {
    // The first of a block.
    if ((unit & (UNITS_PER_BLOCK - 1u)) == 0u) {
      scales = block_scales(block);
      block++;
    }
    let w = unit_quants(quad * UNITS + unit);
    add(&sums, scaled(w.lo, scales), rows, 2u * unit);
    add(&sums, scaled(w.hi, scales), rows, 2u * unit + 1u);
    if (TURN == 2u) {
      if (UNITS_PER_BLOCK == 1u) {
        scales = block_scales(block);
        block++;
      }
      let second = unit_quants(quad * UNITS + unit + 1u);
      add(&sums, scaled(second.lo, scales), rows, 2u * unit + 2u);
      add(&sums, scaled(second.hi, scales), rows, 2u * unit + 3u);
    }
  }
  finish_four(index, lane, own / 2u, first_token, 0u, sums.s0, sums.s1, sums.s2, sums.s3);
  finish_four(index, lane, own / 2u, first_token, 4u, sums.s4, sums.s5, sums.s6, sums.s7);
  finish_four(index, lane, own / 2u, first_token, 8u, sums.s8, sums.s9, sums.s10, sums.s11);
  finish_four(index, lane, own / 2u, first_token, 12u, sums.s12, sums.s13, sums.s14, sums.s15);
}
