// X W^T for the step's rows: X is (rows, K), W is (ROWS, K). What becomes of the products is up to the finish fragment.
// A workgroup makes a tile of 64 weight rows by TILE_TOKENS token rows, 32 columns of K at a time; each weight is dequantized once a tile.
// Invocation (i, j) owns the quads 2 i and 2 i + 1 and OWN token rows: four from 4 j on and, for OWN = 8, as many in the tile's second half.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

const TILE_QUADS: u32 = 16u;
const TILE_K: u32 = 32u;
const TILE_UNITS: u32 = TILE_K / 8u;
// Groups of four token rows: in the tile, and from one group of an invocation to its next.
const TILE_FOURS: u32 = TILE_TOKENS / 4u;
const LANES: u32 = TILE_TOKENS / OWN;
const WORKGROUP: u32 = TILE_QUADS / 2u * LANES;

// [k][quad], even quads before odd ones, one weight of 4 rows each; and [k][token / 4], one input of 4 token rows each.
var<workgroup> w_tile: array<vec4<f32>, TILE_K * TILE_QUADS>;
var<workgroup> x_tile: array<vec4<f32>, TILE_K * TILE_FOURS>;

// Rows beyond the end are read as if they were the last: no product with them is kept.
fn load_x(token: u32, k4: u32) -> vec4<f32> {
  return x[min(token, step.rows - 1u) * X_STRIDE + k4];
}

fn load_tiles(index: u32, first_quad: u32, first_token: u32, k: u32) {
  for (var at = index; at < TILE_QUADS * TILE_UNITS; at += WORKGROUP) {
    let quad = at % TILE_QUADS;
    let unit = at / TILE_QUADS;
    let source = min(first_quad + quad, QUADS - 1u) * UNITS + min(k / 8u + unit, UNITS - 1u);
    let w = unit_quants(source);
    let scales = block_scales(source / UNITS_PER_BLOCK);
    let slot = (quad % 2u) * (TILE_QUADS / 2u) + quad / 2u;
    for (var c = 0u; c < 4u; c++) {
      w_tile[(8u * unit + c) * TILE_QUADS + slot] = scales.scale * w.lo[c] + scales.offset;
    }
    for (var c = 0u; c < 4u; c++) {
      w_tile[(8u * unit + 4u + c) * TILE_QUADS + slot] = scales.scale * w.hi[c] + scales.offset;
    }
  }
  let four = index % TILE_FOURS;
  let token = first_token + 4u * four;
  let end = min(TILE_K, K - k) / 4u;
  for (var k4 = index / TILE_FOURS; k4 < end; k4 += WORKGROUP / TILE_FOURS) {
    let at = k / 4u + k4;
    let columns = transpose(mat4x4<f32>(load_x(token, at), load_x(token + 1u, at), load_x(token + 2u, at), load_x(token + 3u, at)));
    for (var c = 0u; c < 4u; c++) {
      x_tile[(4u * k4 + c) * TILE_FOURS + four] = columns[c];
    }
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let first_quad = workgroup.x * TILE_QUADS;
  let first_token = workgroup.y * TILE_TOKENS;
  let i = index % (TILE_QUADS / 2u);
  let j = index / (TILE_QUADS / 2u);

  var sums_a = array<vec4<f32>, OWN>();
  var sums_b = array<vec4<f32>, OWN>();
  for (var k = 0u; k < K; k += TILE_K) {
    load_tiles(index, first_quad, first_token, k);
    workgroupBarrier();
    let columns = select(min(TILE_K, K - k), TILE_K, K % TILE_K == 0u);
    for (var c = 0u; c < columns; c++) {
      let a = w_tile[c * TILE_QUADS + i];
      let b = w_tile[c * TILE_QUADS + TILE_QUADS / 2u + i];
      for (var four = 0u; four < OWN / 4u; four++) {
        let inputs = x_tile[c * TILE_FOURS + j + four * LANES];
        sums_a[4u * four] += a * inputs.x;
        sums_a[4u * four + 1u] += a * inputs.y;
        sums_a[4u * four + 2u] += a * inputs.z;
        sums_a[4u * four + 3u] += a * inputs.w;
        sums_b[4u * four] += b * inputs.x;
        sums_b[4u * four + 1u] += b * inputs.y;
        sums_b[4u * four + 2u] += b * inputs.z;
        sums_b[4u * four + 3u] += b * inputs.w;
      }
    }
    workgroupBarrier();
  }
  if (first_quad + 2u * i >= QUADS) {
    return;
  }
  for (var t = 0u; t < OWN; t++) {
    let token = first_token + 4u * (j + (t / 4u) * LANES) + t % 4u;
    if (token < step.rows) {
      _ = finish(token, first_quad / 2u + i, sums_a[t], sums_b[t]);
    }
  }
}
