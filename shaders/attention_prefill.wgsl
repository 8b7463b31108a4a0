// Causal attention of the step's rows over everything up to each of them, with WINDOW > 0 over the last WINDOW positions including its own
// (flash attention, Dao et al. 2022), one head and TILE_ROWS rows a workgroup. Keys go by in tiles of TILE_KEYS; each row keeps its largest
// score so far and what was summed relative to it.
// RING: position p has the slot p % CAPACITY. Otherwise the slots are those of a segment of the cache, which begins with position FIRST; what rows
// have of the segments before (RESUME) or leave for the one that follows (MORE) is carried by lib/carry.wgsl, and their sums by y.
// Positions and keys are counted from FIRST.
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

// Queries stay in workgroup memory where all of a head's have room; otherwise a slice of them is staged with each slice of keys.
const RESIDENT: bool = QUADS <= 16u;
const Q_QUADS: u32 = select(SLICE, QUADS, RESIDENT);
// A tile's weights, and before there are any, a slice of keys: neighbours of a quad lie in different banks.
const SCRATCH: u32 = TILE_ROWS / 4u * TILE_KEYS;
const KEY_STRIDE: u32 = TILE_KEYS + 1u;

// [quad][row].
var<workgroup> q_tile: array<vec4<f32>, Q_QUADS * TILE_ROWS>;
// [i][key], the weights of 4 rows each; or [quad][key].
var<workgroup> scratch: array<vec4<f32>, SCRATCH>;

fn slots_of(positions: vec4<u32>) -> vec4<u32> {
  if (RING) {
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

// Stages `quads` quads of the tile's queries from `first` on.
fn stage_queries(index: u32, first_row: u32, head: u32, first: u32, quads: u32) {
  for (var at = index; at < TILE_ROWS * quads; at += WORKGROUP) {
    let row = first_row + at / quads;
    let quad = first + at % quads;
    var loaded = vec4<f32>(0.0);
    if (row < step.rows && quad < QUADS) {
      loaded = q[(row * HEADS + head) * QUADS + quad];
    }
    q_tile[at % quads * TILE_ROWS + at / quads] = loaded;
  }
}

// Scores of 4 rows for a key, or nothing where it is not seen.
fn seen_scores(products: vec4<f32>, head: u32, positions: vec4<u32>, key: u32) -> vec4<f32> {
  return select(vec4<f32>(LOWEST), scored(products, head, positions - key), sees(positions, key));
}

fn weights_of(scores: vec4<f32>, highest: vec4<f32>, positions: vec4<u32>, key: u32) -> vec4<f32> {
  return select(vec4<f32>(0.0), exp(scores - highest), sees(positions, key));
}

// A quad of 4 rows of values, a column a row.
fn four_values(rows: vec4<u32>, quad: u32) -> mat4x4<f32> {
  let at = vec4<u32>(min(quad, QUADS - 1u)) + rows * QUADS;
  return mat4x4<f32>(value_quad(at.x), value_quad(at.y), value_quad(at.z), value_quad(at.w));
}

// Columns of values times the factors of their rows.
fn rescaled(values: mat4x4<f32>, factors: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(values[0] * factors.x, values[1] * factors.y, values[2] * factors.z, values[3] * factors.w);
}

// Sums that y carries: those of 4 rows, a column a row.
fn resumed(first_row: u32, head: u32, quad: u32) -> mat4x4<f32> {
  let rows = min(vec4<u32>(first_row) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(step.rows - 1u));
  let at = (rows * HEADS + head) * QUADS + min(quad, QUADS - 1u);
  return mat4x4<f32>(y[at.x], y[at.y], y[at.z], y[at.w]);
}

fn put(values: mat4x4<f32>, totals: vec4<f32>, first_row: u32, head: u32, quad: u32) {
  if (quad >= QUADS) {
    return;
  }
  let at = (first_row * HEADS + head) * QUADS + quad;
  if (first_row < step.rows) {
    y[at] = values[0] / totals.x;
  }
  if (first_row + 1u < step.rows) {
    y[at + HEADS * QUADS] = values[1] / totals.y;
  }
  if (first_row + 2u < step.rows) {
    y[at + 2u * HEADS * QUADS] = values[2] / totals.z;
  }
  if (first_row + 3u < step.rows) {
    y[at + 3u * HEADS * QUADS] = values[3] / totals.w;
  }
}

// The largest of each row. All invocations of the workgroup come here.
fn shared_max(own: vec4<f32>, i: u32, j: u32) -> vec4<f32> {
  scratch[i * TILE_KEYS + j] = own;
  workgroupBarrier();
  var all = own;
  for (var lane = 0u; lane < LANES; lane++) {
    all = max(all, scratch[i * TILE_KEYS + lane]);
  }
  workgroupBarrier();
  return all;
}

fn shared_sum(own: vec4<f32>, i: u32, j: u32) -> vec4<f32> {
  scratch[i * TILE_KEYS + j] = own;
  workgroupBarrier();
  var all = vec4<f32>(0.0);
  for (var lane = 0u; lane < LANES; lane++) {
    all += scratch[i * TILE_KEYS + lane];
  }
  return all;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let head = workgroup.y;
  // The last rows see most keys: they come first, so that nobody waits for them at the end. There are exactly as many workgroups as tiles.
  let first_row = ((step.rows - 1u) / TILE_ROWS - workgroup.x) * TILE_ROWS;
  let keys = (head / HEADS_PER_KV) * CAPACITY;
  let position = step.position - FIRST;
  // Positions that the tile's last row attends to.
  let end = min(position + min(first_row + TILE_ROWS, step.rows), END);
  let i = index / LANES;
  let j = index % LANES;
  let positions = vec4<u32>(position + first_row + 4u * i) + vec4<u32>(0u, 1u, 2u, 3u);

  // Tiles of keys that no row of this tile sees are left out.
  var begin = 0u;
  if (WINDOW > 0u) {
    begin = (max(position + first_row + 1u, WINDOW) - WINDOW) / TILE_KEYS * TILE_KEYS;
  }

  if (RESIDENT) {
    stage_queries(index, first_row, head, 0u, QUADS);
  }
  // Sums of values by 16 quads of a head, a column a row: variables and no array, since not every compiler unrolls a loop over one.
  var values0 = mat4x4<f32>();
  var values1 = mat4x4<f32>();
  var values2 = mat4x4<f32>();
  var values3 = mat4x4<f32>();
  var highest = vec4<f32>(LOWEST);
  var totals = vec4<f32>(0.0);
  let row = first_row + 4u * i;
  if (RESUME) {
    let was = carried(row, head);
    highest = was[0];
    // One of the 16 that share the rows has what is carried.
    totals = select(vec4<f32>(0.0), was[1], j == 0u);
    values0 = resumed(row, head, j);
    if (COLUMNS > 1u) {
      values1 = resumed(row, head, j + LANES);
    }
    if (COLUMNS > 2u) {
      values2 = resumed(row, head, j + 2u * LANES);
    }
    if (COLUMNS > 3u) {
      values3 = resumed(row, head, j + 3u * LANES);
    }
  }
  for (var first_key = begin; first_key < end; first_key += TILE_KEYS) {
    // Products of 4 rows and 4 keys: a component a row.
    // Chromium zeroes a variable without an initializer once, not in every turn of the loop.
    var scores0 = vec4<f32>(0.0);
    var scores1 = vec4<f32>(0.0);
    var scores2 = vec4<f32>(0.0);
    var scores3 = vec4<f32>(0.0);
    for (var slice = 0u; slice < QUADS; slice += SLICE) {
      if (!RESIDENT) {
        stage_queries(index, first_row, head, slice, SLICE);
      }
      for (var at = index; at < TILE_KEYS * SLICE; at += WORKGROUP) {
        let key = first_key + at / SLICE;
        let quad = slice + at % SLICE;
        var loaded = vec4<f32>(0.0);
        if (key < end && quad < QUADS) {
          loaded = key_quad((keys + slots_of(vec4<u32>(key)).x) * QUADS + quad);
        }
        scratch[(at % SLICE) * KEY_STRIDE + at / SLICE] = loaded;
      }
      workgroupBarrier();
      for (var quad = 0u; quad < min(SLICE, QUADS - slice); quad++) {
        let query = (select(0u, slice, RESIDENT) + quad) * TILE_ROWS + 4u * i;
        let queries = mat4x4<f32>(q_tile[query], q_tile[query + 1u], q_tile[query + 2u], q_tile[query + 3u]);
        let key = quad * KEY_STRIDE + j;
        scores0 += scratch[key] * queries;
        scores1 += scratch[key + LANES] * queries;
        scores2 += scratch[key + 2u * LANES] * queries;
        scores3 += scratch[key + 3u * LANES] * queries;
      }
      workgroupBarrier();
    }

    // The largest scores of the rows, over the 16 invocations that share them.
    let key = first_key + j;
    scores0 = seen_scores(scores0, head, positions, key);
    scores1 = seen_scores(scores1, head, positions, key + LANES);
    scores2 = seen_scores(scores2, head, positions, key + 2u * LANES);
    scores3 = seen_scores(scores3, head, positions, key + 3u * LANES);
    let tile_highest = shared_max(max(max(highest, max(scores0, scores1)), max(scores2, scores3)), i, j);
    let own = i * TILE_KEYS + j;
    let rescale = exp(highest - tile_highest);
    highest = tile_highest;
    scores0 = weights_of(scores0, highest, positions, key);
    scores1 = weights_of(scores1, highest, positions, key + LANES);
    scores2 = weights_of(scores2, highest, positions, key + 2u * LANES);
    scores3 = weights_of(scores3, highest, positions, key + 3u * LANES);
    totals = totals * rescale + scores0 + scores1 + scores2 + scores3;
    scratch[own] = scores0;
    scratch[own + LANES] = scores1;
    scratch[own + 2u * LANES] = scores2;
    scratch[own + 3u * LANES] = scores3;
    workgroupBarrier();

    values0 = rescaled(values0, rescale);
    if (COLUMNS > 1u) {
      values1 = rescaled(values1, rescale);
    }
    if (COLUMNS > 2u) {
      values2 = rescaled(values2, rescale);
    }
    if (COLUMNS > 3u) {
      values3 = rescaled(values3, rescale);
    }
    // Keys past the end read the last value, and weigh nothing for any row that counts.
    for (var n = 0u; n < min(TILE_KEYS, end - first_key); n += 4u) {
      let at = i * TILE_KEYS + n;
      // A column a row of queries, a component a key.
      let weight = transpose(mat4x4<f32>(scratch[at], scratch[at + 1u], scratch[at + 2u], scratch[at + 3u]));
      let rows = vec4<u32>(keys) + slots_of(min(vec4<u32>(first_key + n) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(end - 1u)));
      values0 += four_values(rows, j) * weight;
      if (COLUMNS > 1u) {
        values1 += four_values(rows, j + LANES) * weight;
      }
      if (COLUMNS > 2u) {
        values2 += four_values(rows, j + 2u * LANES) * weight;
      }
      if (COLUMNS > 3u) {
        values3 += four_values(rows, j + 3u * LANES) * weight;
      }
    }
    workgroupBarrier();
  }

  totals = shared_sum(totals, i, j);
  if (MORE) {
    if (j == 0u) {
      carry(row, head, highest, totals);
    }
    totals = vec4<f32>(1.0);
  }
  put(values0, totals, row, head, j);
  if (COLUMNS > 1u) {
    put(values1, totals, row, head, j + LANES);
  }
  if (COLUMNS > 2u) {
    put(values2, totals, row, head, j + 2u * LANES);
  }
  if (COLUMNS > 3u) {
    put(values3, totals, row, head, j + 3u * LANES);
  }
}
