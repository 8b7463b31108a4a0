// As matmul.wgsl, but nothing passes through workgroup memory: each invocation keeps the weights of its own rows in registers, one or two quads
// (lib/quads_*.wgsl), a unit at a time, and gets inputs from LANES invocations of its subgroup (lib/lanes_*.wgsl). A workgroup makes a tile of all
// its invocations' weight rows by 16 token rows; each weight is dequantized for every 16 of them.
// Sums are named one by one: not every compiler keeps an array in registers.

const TILE_TOKENS: u32 = 16u;
const UNITS: u32 = K / 8u;
const BLOCKS: u32 = UNITS / UNITS_PER_BLOCK;

fn scaled(w: mat4x4<f32>, scales: Scales) -> mat4x4<f32> {
  return mat4x4<f32>(
    scales.scale * w[0] + scales.offset,
    scales.scale * w[1] + scales.offset,
    scales.scale * w[2] + scales.offset,
    scales.scale * w[3] + scales.offset,
  );
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
  let quad = min(own * QUADS_EACH, QUADS - 1u);
  // Rows beyond the end are read as if they were the last: no product with them is kept.
  let tokens = min(vec4<u32>(first_token + lane % LANES) + LANES * vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(step.rows - 1u));
  let rows = tokens * X_STRIDE;
  var sums = Sums();
  var scales = OwnScales();
  // One loop, not one within another: SwiftShader goes through the body of a `for` once more than it turns, and copies the
  // sums in every turn.
  for (var unit = 0u; unit < UNITS; unit += TURN) {
    // The first of a block.
    if ((unit & (UNITS_PER_BLOCK - 1u)) == 0u) {
      scales = own_scales(quad, unit / UNITS_PER_BLOCK);
    }
    let w = own_quants(quad, unit);
    add(&sums, weights_lo(w, scales), rows, 2u * unit);
    add(&sums, weights_hi(w, scales), rows, 2u * unit + 1u);
    if (TURN == 2u) {
      if (UNITS_PER_BLOCK == 1u) {
        scales = own_scales(quad, unit + 1u);
      }
      let second = own_quants(quad, unit + 1u);
      add(&sums, weights_lo(second, scales), rows, 2u * unit + 2u);
      add(&sums, weights_hi(second, scales), rows, 2u * unit + 3u);
    }
  }
  finish_four(index, lane, own, first_token, 0u, sums.s0, sums.s1, sums.s2, sums.s3);
  finish_four(index, lane, own, first_token, 4u, sums.s4, sums.s5, sums.s6, sums.s7);
  finish_four(index, lane, own, first_token, 8u, sums.s8, sums.s9, sums.s10, sums.s11);
  finish_four(index, lane, own, first_token, 12u, sums.s12, sums.s13, sums.s14, sums.s15);
}
