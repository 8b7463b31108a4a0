// X W^T for the step's rows: X is (rows, K), W is (ROWS, K). What becomes of the products is up to the finish fragment.
// In a mixture of experts workgroup.z is the expert and the rows are those that chose it (lib/tokens_*.wgsl).
// A workgroup makes a tile of 64 weight rows by TILE_TOKENS token rows, 32 columns of K at a time; each weight is dequantized once a tile.
// Invocation (i, j) owns the quads 2 i and 2 i + 1 and the token rows 4 j to 4 j + 3.
// Written out where a loop would index vectors or arrays: not every compiler unrolls it, and without that they lie in memory.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

const TILE_QUADS: u32 = 16u;
const TILE_K: u32 = 32u;
const TILE_UNITS: u32 = TILE_K / 8u;
const TILE_FOURS: u32 = TILE_TOKENS / 4u;
const WORKGROUP: u32 = TILE_QUADS / 2u * TILE_FOURS;

// [k][quad], even quads before odd ones, one weight of 4 rows each; and [k][token / 4], one input of 4 token rows each.
var<workgroup> w_tile: array<vec4<f32>, TILE_K * TILE_QUADS>;
var<workgroup> x_tile: array<vec4<f32>, TILE_K * TILE_FOURS>;

// Rows beyond the end are read as if they were the last: no product with them is kept.
fn load_x(expert: u32, row: u32, k4: u32) -> vec4<f32> {
  return x[x_row(expert, min(row, row_count(expert) - 1u)) * X_STRIDE + k4];
}

fn load_tiles(expert: u32, index: u32, first_quad: u32, first_token: u32, k: u32) {
  for (var at = index; at < TILE_QUADS * TILE_UNITS; at += WORKGROUP) {
    let quad = at % TILE_QUADS;
    let unit = at / TILE_QUADS;
    let source = (first_quad_of(expert) + min(first_quad + quad, QUADS - 1u)) * UNITS + min(k / 8u + unit, UNITS - 1u);
    let w = unit_quants(source);
    let scales = block_scales(source / UNITS_PER_BLOCK);
    let at_k = 8u * unit * TILE_QUADS + (quad % 2u) * (TILE_QUADS / 2u) + quad / 2u;
    w_tile[at_k] = scales.scale * w.lo[0] + scales.offset;
    w_tile[at_k + TILE_QUADS] = scales.scale * w.lo[1] + scales.offset;
    w_tile[at_k + 2u * TILE_QUADS] = scales.scale * w.lo[2] + scales.offset;
    w_tile[at_k + 3u * TILE_QUADS] = scales.scale * w.lo[3] + scales.offset;
    w_tile[at_k + 4u * TILE_QUADS] = scales.scale * w.hi[0] + scales.offset;
    w_tile[at_k + 5u * TILE_QUADS] = scales.scale * w.hi[1] + scales.offset;
    w_tile[at_k + 6u * TILE_QUADS] = scales.scale * w.hi[2] + scales.offset;
    w_tile[at_k + 7u * TILE_QUADS] = scales.scale * w.hi[3] + scales.offset;
  }
  let four = index % TILE_FOURS;
  let token = first_token + 4u * four;
  let end = min(TILE_K, K - k) / 4u;
  for (var k4 = index / TILE_FOURS; k4 < end; k4 += WORKGROUP / TILE_FOURS) {
    let at = k / 4u + k4;
    let columns = transpose(mat4x4<f32>(load_x(expert, token, at), load_x(expert, token + 1u, at), load_x(expert, token + 2u, at), load_x(expert, token + 3u, at)));
    x_tile[4u * k4 * TILE_FOURS + four] = columns[0];
    x_tile[(4u * k4 + 1u) * TILE_FOURS + four] = columns[1];
    x_tile[(4u * k4 + 2u) * TILE_FOURS + four] = columns[2];
    x_tile[(4u * k4 + 3u) * TILE_FOURS + four] = columns[3];
  }
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

  var a0 = vec4<f32>(0.0);
  var a1 = vec4<f32>(0.0);
  var a2 = vec4<f32>(0.0);
  var a3 = vec4<f32>(0.0);
  var b0 = vec4<f32>(0.0);
  var b1 = vec4<f32>(0.0);
  var b2 = vec4<f32>(0.0);
  var b3 = vec4<f32>(0.0);
  for (var k = 0u; k < K; k += TILE_K) {
    load_tiles(expert, index, first_quad, first_token, k);
    workgroupBarrier();
    let columns = select(min(TILE_K, K - k), TILE_K, K % TILE_K == 0u);
    for (var c = 0u; c < columns; c++) {
      let a = w_tile[c * TILE_QUADS + i];
      let b = w_tile[c * TILE_QUADS + TILE_QUADS / 2u + i];
      let inputs = x_tile[c * TILE_FOURS + j];
      a0 += a * inputs.x;
      a1 += a * inputs.y;
      a2 += a * inputs.z;
      a3 += a * inputs.w;
      b0 += b * inputs.x;
      b1 += b * inputs.y;
      b2 += b * inputs.z;
      b3 += b * inputs.w;
    }
    workgroupBarrier();
  }
  if (first_quad + 2u * i >= QUADS) {
    return;
  }
  for (var t = 0u; t < 4u; t++) {
    let token = first_token + 4u * j + t;
    if (token < row_count(expert)) {
      let a = select(select(a0, a1, t == 1u), select(a2, a3, t == 3u), t >= 2u);
      let b = select(select(b0, b1, t == 1u), select(b2, b3, t == 3u), t >= 2u);
      _ = finish(y_row(expert, token), first_quad / 2u + i, a, b);
    }
  }
}
