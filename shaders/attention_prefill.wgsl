// Causal attention of the step's rows over everything up to each of them, with WINDOW > 0 over the last WINDOW positions including its own
// (flash attention, Dao et al. 2022; position p has the slot p % CAPACITY), one head and TILE_ROWS rows a
// workgroup. Keys go by in tiles of TILE_KEYS; each row keeps its largest score so far and what was summed relative to it.
// Invocation (i, j) of 8 x 16 owns rows 4 i to 4 i + 3: of their scores every 16th key from j, of their values every 16th quad from j.

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<KvQuad>;
@group(0) @binding(2) var<storage, read> v: array<KvQuad>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> step: Step;

const WORKGROUP: u32 = 128u;
const LANES: u32 = 16u;
const TILE_ROWS: u32 = 32u;
const TILE_KEYS: u32 = 64u;
// Quads of a head that are staged at once.
const SLICE: u32 = 4u;
const QUADS: u32 = HEAD_DIM / 4u;
const COLUMNS: u32 = (QUADS + LANES - 1u) / LANES;
// Below every score, and far enough from the largest f32 that differences stay finite.
const LOWEST: f32 = -1e30;

// [quad][row] and [quad][key], padded so that neighbours of a quad lie in different banks.
var<workgroup> q_tile: array<vec4<f32>, SLICE * (TILE_ROWS + 1u)>;
var<workgroup> k_tile: array<vec4<f32>, SLICE * (TILE_KEYS + 1u)>;
// [i][key]: the weights of 4 rows each.
var<workgroup> weights: array<vec4<f32>, TILE_ROWS / 4u * TILE_KEYS>;

fn slots_of(positions: vec4<u32>) -> vec4<u32> {
  if (CAPACITY < CONTEXT) {
    return positions % CAPACITY;
  }
  return positions;
}

fn sees(positions: vec4<u32>, key: u32) -> vec4<bool> {
  let causal = vec4<u32>(key) <= positions;
  if (WINDOW > 0u) {
    return causal & (positions - key < vec4<u32>(WINDOW));
  }
  return causal;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let head = workgroup.x;
  let first_row = workgroup.y * TILE_ROWS;
  let keys = (head / HEADS_PER_KV) * CAPACITY;
  // Positions that the tile's last row attends to.
  let end = step.position + min(first_row + TILE_ROWS, step.rows);
  let i = index / LANES;
  let j = index % LANES;
  let positions = vec4<u32>(step.position + first_row + 4u * i) + vec4<u32>(0u, 1u, 2u, 3u);

  // Tiles of keys that no row of this tile sees are left out.
  var begin = 0u;
  if (WINDOW > 0u) {
    begin = (max(step.position + first_row + 1u, WINDOW) - WINDOW) / TILE_KEYS * TILE_KEYS;
  }

  var values = array<vec4<f32>, 4u * COLUMNS>();
  var highest = vec4<f32>(LOWEST);
  var totals = vec4<f32>(0.0);
  for (var first_key = begin; first_key < end; first_key += TILE_KEYS) {
    // Scores of 4 rows and 4 keys: a component a row.
    // Chromium zeroes a variable without an initializer once, not in every turn of the loop.
    var scores = array<vec4<f32>, 4>();
    for (var slice = 0u; slice < QUADS; slice += SLICE) {
      for (var at = index; at < TILE_ROWS * SLICE; at += WORKGROUP) {
        let row = first_row + at / SLICE;
        let quad = slice + at % SLICE;
        var loaded = vec4<f32>(0.0);
        if (row < step.rows && quad < QUADS) {
          loaded = q[(row * HEADS + head) * QUADS + quad];
        }
        q_tile[(at % SLICE) * (TILE_ROWS + 1u) + at / SLICE] = loaded;
      }
      for (var at = index; at < TILE_KEYS * SLICE; at += WORKGROUP) {
        let key = first_key + at / SLICE;
        let quad = slice + at % SLICE;
        var loaded = vec4<f32>(0.0);
        if (key < end && quad < QUADS) {
          loaded = key_quad((keys + slots_of(vec4<u32>(key)).x) * QUADS + quad);
        }
        k_tile[(at % SLICE) * (TILE_KEYS + 1u) + at / SLICE] = loaded;
      }
      workgroupBarrier();
      for (var quad = 0u; quad < SLICE; quad++) {
        let row = quad * (TILE_ROWS + 1u) + 4u * i;
        let q0 = q_tile[row];
        let q1 = q_tile[row + 1u];
        let q2 = q_tile[row + 2u];
        let q3 = q_tile[row + 3u];
        for (var n = 0u; n < 4u; n++) {
          let key = k_tile[quad * (TILE_KEYS + 1u) + j + n * LANES];
          scores[n] += vec4<f32>(dot(q0, key), dot(q1, key), dot(q2, key), dot(q3, key));
        }
      }
      workgroupBarrier();
    }

    // The largest scores of the rows, over the 16 invocations that share them.
    var tile_highest = highest;
    for (var n = 0u; n < 4u; n++) {
      let key = first_key + j + n * LANES;
      scores[n] = select(vec4<f32>(LOWEST), scored(scores[n], head, positions - key), sees(positions, key));
      tile_highest = max(tile_highest, scores[n]);
    }
    weights[i * TILE_KEYS + j] = tile_highest;
    workgroupBarrier();
    for (var lane = 0u; lane < LANES; lane++) {
      tile_highest = max(tile_highest, weights[i * TILE_KEYS + lane]);
    }
    workgroupBarrier();
    let rescale = exp(highest - tile_highest);
    highest = tile_highest;
    totals *= rescale;
    for (var n = 0u; n < 4u; n++) {
      let key = first_key + j + n * LANES;
      let weight = select(vec4<f32>(0.0), exp(scores[n] - highest), sees(positions, key));
      weights[i * TILE_KEYS + j + n * LANES] = weight;
      totals += weight;
    }
    workgroupBarrier();

    for (var c = 0u; c < COLUMNS; c++) {
      for (var r = 0u; r < 4u; r++) {
        values[4u * c + r] *= rescale[r];
      }
    }
    // Keys past the end read the last value, and weigh nothing for any row that counts.
    for (var key = 0u; key < min(TILE_KEYS, end - first_key); key += 4u) {
      let at = i * TILE_KEYS + key;
      // A column a row of queries, a component a key.
      let weight = transpose(mat4x4<f32>(weights[at], weights[at + 1u], weights[at + 2u], weights[at + 3u]));
      let row = vec4<u32>(keys) + slots_of(min(vec4<u32>(first_key + key) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(end - 1u)));
      for (var c = 0u; c < COLUMNS; c++) {
        let quad = vec4<u32>(min(j + c * LANES, QUADS - 1u)) + row * QUADS;
        let value = mat4x4<f32>(value_quad(quad.x), value_quad(quad.y), value_quad(quad.z), value_quad(quad.w));
        for (var r = 0u; r < 4u; r++) {
          values[4u * c + r] += value * weight[r];
        }
      }
    }
    workgroupBarrier();
  }

  weights[i * TILE_KEYS + j] = totals;
  workgroupBarrier();
  totals = vec4<f32>(0.0);
  for (var lane = 0u; lane < LANES; lane++) {
    totals += weights[i * TILE_KEYS + lane];
  }
  for (var r = 0u; r < 4u; r++) {
    let row = first_row + 4u * i + r;
    for (var c = 0u; c < COLUMNS; c++) {
      let quad = j + c * LANES;
      if (row < step.rows && quad < QUADS) {
        y[(row * HEADS + head) * QUADS + quad] = values[4u * c + r] / totals[r];
      }
    }
  }
}
