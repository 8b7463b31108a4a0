// Y = X W^T for the step's rows: X is (rows, K), W is (ROWS, K), Y is (rows, ROWS), all in f32.
// A workgroup of 64 makes a tile of 64 weight rows by 32 token rows, 32 columns of K at a time; each weight is dequantized once a tile.
// Invocation (i, j) of 8 x 8 owns the quads i and i + 8 and the token rows 4 j to 4 j + 3.
// ACCUMULATE adds to Y instead of replacing it: the residual stream.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> step: Step;

const TILE_QUADS: u32 = 16u;
const TILE_TOKENS: u32 = 32u;
const TILE_K: u32 = 32u;
const TILE_UNITS: u32 = TILE_K / 8u;

// [k][quad], one weight of 4 rows each, and [k][token / 4], one input of 4 token rows each.
var<workgroup> w_tile: array<vec4<f32>, TILE_K * TILE_QUADS>;
var<workgroup> x_tile: array<vec4<f32>, TILE_K * TILE_TOKENS / 4u>;

fn load_x(token: u32, k4: u32) -> vec4<f32> {
  if (token < step.rows && k4 < K / 4u) {
    return x[token * X_STRIDE + k4];
  }
  return vec4<f32>(0.0);
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let first_quad = workgroup.x * TILE_QUADS;
  let first_token = workgroup.y * TILE_TOKENS;
  let i = index % 8u;
  let j = index / 8u;
  // Loading: each invocation brings one unit of one quad, and 4 columns of 4 token rows.
  let load_quad = index % TILE_QUADS;
  let load_unit = index / TILE_QUADS;
  let load_tokens = first_token + 4u * i;

  var sums = array<vec4<f32>, 8>();
  for (var k = 0u; k < K; k += TILE_K) {
    let unit = k / 8u + load_unit;
    var lo = mat4x4<f32>();
    var hi = mat4x4<f32>();
    if (first_quad + load_quad < QUADS && unit < UNITS) {
      let at = (first_quad + load_quad) * UNITS + unit;
      let w = unit_quants(at);
      let scales = block_scales(at / UNITS_PER_BLOCK);
      for (var c = 0u; c < 4u; c++) {
        lo[c] = scales.scale * w.lo[c] + scales.offset;
        hi[c] = scales.scale * w.hi[c] + scales.offset;
      }
    }
    for (var c = 0u; c < 4u; c++) {
      w_tile[(8u * load_unit + c) * TILE_QUADS + load_quad] = lo[c];
      w_tile[(8u * load_unit + 4u + c) * TILE_QUADS + load_quad] = hi[c];
    }
    let k4 = k / 4u + j;
    let columns = transpose(mat4x4<f32>(
      load_x(load_tokens, k4), load_x(load_tokens + 1u, k4), load_x(load_tokens + 2u, k4), load_x(load_tokens + 3u, k4),
    ));
    for (var c = 0u; c < 4u; c++) {
      x_tile[(4u * j + c) * (TILE_TOKENS / 4u) + i] = columns[c];
    }
    workgroupBarrier();
    for (var c = 0u; c < TILE_K; c++) {
      let w0 = w_tile[c * TILE_QUADS + i];
      let w1 = w_tile[c * TILE_QUADS + i + 8u];
      let inputs = x_tile[c * (TILE_TOKENS / 4u) + j];
      sums[0] += w0 * inputs.x;
      sums[1] += w0 * inputs.y;
      sums[2] += w0 * inputs.z;
      sums[3] += w0 * inputs.w;
      sums[4] += w1 * inputs.x;
      sums[5] += w1 * inputs.y;
      sums[6] += w1 * inputs.z;
      sums[7] += w1 * inputs.w;
    }
    workgroupBarrier();
  }
  for (var t = 0u; t < 4u; t++) {
    let token = first_token + 4u * j + t;
    for (var q = 0u; q < 2u; q++) {
      let quad = first_quad + i + 8u * q;
      if (token < step.rows && quad < QUADS) {
        let at = token * Y_STRIDE + Y_FIRST + quad;
        if (ACCUMULATE) {
          y[at] += sums[4u * q + t];
        } else {
          y[at] = sums[4u * q + t];
        }
      }
    }
  }
}
