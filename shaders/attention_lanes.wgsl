// As attention_prefill.wgsl, but what several invocations need passes from lane to lane of a subgroup (lib/attend_*.wgsl), so that an invocation
// loads a third as many numbers for a product.
// GROUP invocations share 16 rows: invocation j of them has these rows' scores for keys j and GROUP + j of a tile, and, of the values, rows
// 4 c to 4 c + 3 with c = j % 4 and unit j / 4.

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<KvUnit>;
@group(0) @binding(2) var<storage, read> v: array<KvUnit>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> step: Step;

const WORKGROUP: u32 = GROUPS * GROUP;
const TILE_ROWS: u32 = 16u * GROUPS;
const TILE_KEYS: u32 = 2u * GROUP;
const QUADS: u32 = HEAD_DIM / 4u;
const UNITS: u32 = HEAD_DIM / 8u;
// Units of keys that are staged at once.
const SLICE: u32 = min(UNITS, 4u * GROUPS / STAGED);
// Below every score, and far enough from the largest f32 that differences stay finite.
const LOWEST: f32 = -1e30;

// A slice of keys, [unit][key]; then the tile's weights, [row / 4][key], those of 4 rows each.
const SCRATCH: u32 = 4u * GROUPS * TILE_KEYS;
// Where the largest scores are brought together, [row / 4][...], behind those where there is room.
const EXCHANGED: u32 = GROUP / LANES;
const EXCHANGE: u32 = select(0u, SCRATCH, HEAD_DIM <= 128u);
var<workgroup> scratch: array<vec4<u32>, SCRATCH + select(0u, 4u * GROUPS * EXCHANGED, HEAD_DIM <= 128u)>;

struct Scores {
  // Of key j, rows 0 to 3, 4 to 7 and so on; then of key GROUP + j.
  a0: vec4<f32>,
  a1: vec4<f32>,
  a2: vec4<f32>,
  a3: vec4<f32>,
  b0: vec4<f32>,
  b1: vec4<f32>,
  b2: vec4<f32>,
  b3: vec4<f32>,
}

fn slot_of(position: u32) -> u32 {
  if (RING) {
    return position % CAPACITY;
  }
  return position;
}

// A sum and four more products, one after the other: each is one fused operation where there are such.
fn summed(sum: f32, x: vec4<f32>, y: vec4<f32>) -> f32 {
  return (((sum + x.x * y.x) + x.y * y.y) + x.z * y.z) + x.w * y.w;
}

// Adds the products of four rows and a key.
fn scores_of(sums: vec4<f32>, rows: mat4x4<f32>, key: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(summed(sums.x, rows[0], key), summed(sums.y, rows[1], key), summed(sums.z, rows[2], key), summed(sums.w, rows[3], key));
}

// What the 4 lanes of a quad have.
fn four(own: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(quadBroadcast(own, 0u), quadBroadcast(own, 1u), quadBroadcast(own, 2u), quadBroadcast(own, 3u));
}

// Which of the rows at 4 positions from `first` on see a key.
fn sees(first: u32, key: u32) -> vec4<bool> {
  let positions = first + vec4<u32>(0u, 1u, 2u, 3u);
  var causal = vec4<u32>(key) <= positions;
  // A segment's last tile may end beyond it.
  if (END % TILE_KEYS > 0u) {
    causal &= vec4<bool>(key < END);
  }
  if (WINDOW > 0u) {
    return causal & (positions - key < vec4<u32>(WINDOW));
  }
  return causal;
}

// Scores of 4 rows for a key, or nothing where it is not seen.
fn seen_scores(products: vec4<f32>, head: u32, first: u32, key: u32) -> vec4<f32> {
  return select(vec4<f32>(LOWEST), scored(products, head, first + vec4<u32>(0u, 1u, 2u, 3u) - key), sees(first, key));
}

fn weights_of(scores: vec4<f32>, highest: vec4<f32>, first: u32, key: u32) -> vec4<f32> {
  return select(vec4<f32>(0.0), exp(scores - highest), sees(first, key));
}

// Of what the lanes of a quad have of 16 rows, the largest of rows 4 c to 4 c + 3: lanes keep what they need and hand on the rest.
fn largest_dealt(x0: vec4<f32>, x1: vec4<f32>, x2: vec4<f32>, x3: vec4<f32>, c: u32) -> vec4<f32> {
  let odd = c % 2u == 1u;
  let lower = max(select(x0, x1, odd), quadSwapX(select(x1, x0, odd)));
  let upper = max(select(x2, x3, odd), quadSwapX(select(x3, x2, odd)));
  return max(select(lower, upper, c >= 2u), quadSwapY(select(upper, lower, c >= 2u)));
}

// The same of sums.
fn sum_dealt(x0: vec4<f32>, x1: vec4<f32>, x2: vec4<f32>, x3: vec4<f32>, c: u32) -> vec4<f32> {
  let odd = c % 2u == 1u;
  let lower = select(x0, x1, odd) + quadSwapX(select(x1, x0, odd));
  let upper = select(x2, x3, odd) + quadSwapX(select(x3, x2, odd));
  return select(lower, upper, c >= 2u) + quadSwapY(select(upper, lower, c >= 2u));
}

fn weight(at: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(scratch[at]);
}

// Puts what the lanes side by side have of 4 rows where all that share them find it. Nobody reads there any more.
fn exchange(own: vec4<f32>, first: u32, j: u32) {
  if (j % LANES < 4u) {
    scratch[first + j / LANES] = bitcast<vec4<u32>>(own);
  }
  workgroupBarrier();
}

// A row of values times its factor, and four more products.
fn weighed(sums: mat2x4<f32>, weights: vec4<f32>, v0: mat2x4<f32>, v1: mat2x4<f32>, v2: mat2x4<f32>, v3: mat2x4<f32>) -> mat2x4<f32> {
  return mat2x4<f32>(
    (((sums[0] + weights.x * v0[0]) + weights.y * v1[0]) + weights.z * v2[0]) + weights.w * v3[0],
    (((sums[1] + weights.x * v0[1]) + weights.y * v1[1]) + weights.z * v2[1]) + weights.w * v3[1],
  );
}

// Sums that y carries.
fn resumed(row: u32, head: u32, unit: u32) -> mat2x4<f32> {
  let at = (min(row, step.rows - 1u) * HEADS + head) * QUADS + 2u * unit;
  return mat2x4<f32>(y[at], y[at + 1u]);
}

fn put(values: mat2x4<f32>, total: f32, row: u32, head: u32, unit: u32) {
  if (row < step.rows && unit < UNITS) {
    let at = (row * HEADS + head) * QUADS + 2u * unit;
    y[at] = values[0] / total;
    y[at + 1u] = values[1] / total;
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let head = workgroup.y;
  // The last rows see most keys: they come first, so that nobody waits for them at the end. There are exactly as many workgroups as tiles.
  let tile = (step.rows - 1u) / TILE_ROWS - workgroup.x;
  let keys = (head / HEADS_PER_KV) * CAPACITY;
  let position = step.position - FIRST;
  // Positions that the tile's last row attends to.
  let end = min(position + min((tile + 1u) * TILE_ROWS, step.rows), END);
  let g = index / GROUP;
  let j = index % GROUP;
  let c = j % 4u;
  let unit = min(j / 4u, UNITS - 1u);
  // The first of the 16 rows, and of the 4 whose values are summed here.
  let first_row = tile * TILE_ROWS + 16u * g;
  let row = first_row + 4u * c;
  // Queries of rows beyond the end are read as if they were the last: no product with them is kept.
  let queries = (min(vec4<u32>(first_row + j % LANES) + LANES * vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(step.rows - 1u)) * HEADS + head) * QUADS;
  let own_position = position + first_row;

  // Tiles of keys that no row of this tile sees are left out.
  var begin = 0u;
  if (WINDOW > 0u) {
    begin = (max(position + tile * TILE_ROWS + 1u, WINDOW) - WINDOW) / TILE_KEYS * TILE_KEYS;
  }

  var values0 = mat2x4<f32>();
  var values1 = mat2x4<f32>();
  var values2 = mat2x4<f32>();
  var values3 = mat2x4<f32>();
  var highest = vec4<f32>(LOWEST);
  var totals = vec4<f32>(0.0);
  if (RESUME) {
    let was = carried(row, head);
    highest = was[0];
    // One of those that share the rows has what is carried.
    totals = select(vec4<f32>(0.0), was[1], j < 4u);
    values0 = resumed(row, head, unit);
    values1 = resumed(row + 1u, head, unit);
    values2 = resumed(row + 2u, head, unit);
    values3 = resumed(row + 3u, head, unit);
  }
  let exchanged = EXCHANGE + (4u * g + c) * EXCHANGED;
  for (var first_key = begin; first_key < end; first_key += TILE_KEYS) {
    var scores = Scores();
    for (var slice = 0u; slice < UNITS; slice += SLICE) {
      for (var at = index; at < TILE_KEYS * SLICE; at += WORKGROUP) {
        // Neighbours read neighbouring units, and write to different banks.
        let key = at / SLICE;
        let n = at % SLICE;
        stage((keys + slot_of(min(first_key + key, end - 1u))) * UNITS + min(slice + n, UNITS - 1u), (n * TILE_KEYS + (key ^ (n % 8u))) * STAGED);
      }
      workgroupBarrier();
      for (var n = 0u; n < min(SLICE, UNITS - slice); n++) {
        let at = n * TILE_KEYS + (j ^ (n % 8u));
        let one = staged(at * STAGED);
        let other = staged((at + GROUP) * STAGED);
        add_scores(&scores, one[0], other[0], queries, 2u * (slice + n));
        add_scores(&scores, one[1], other[1], queries, 2u * (slice + n) + 1u);
      }
      workgroupBarrier();
    }
    scores = ordered(scores, j);

    let key = first_key + j;
    let a0 = seen_scores(scores.a0, head, own_position, key);
    let a1 = seen_scores(scores.a1, head, own_position + 4u, key);
    let a2 = seen_scores(scores.a2, head, own_position + 8u, key);
    let a3 = seen_scores(scores.a3, head, own_position + 12u, key);
    let b0 = seen_scores(scores.b0, head, own_position, key + GROUP);
    let b1 = seen_scores(scores.b1, head, own_position + 4u, key + GROUP);
    let b2 = seen_scores(scores.b2, head, own_position + 8u, key + GROUP);
    let b3 = seen_scores(scores.b3, head, own_position + 12u, key + GROUP);
    exchange(largest_beside(largest_dealt(max(a0, b0), max(a1, b1), max(a2, b2), max(a3, b3), c)), exchanged, j);
    var tile_highest = highest;
    for (var n = 0u; n < EXCHANGED; n++) {
      tile_highest = max(tile_highest, weight(exchanged + n));
    }
    if (EXCHANGE == 0u) {
      workgroupBarrier();
    }
    let rescale = exp(highest - tile_highest);
    highest = tile_highest;
    let all = four(highest);
    let p0 = weights_of(a0, all[0], own_position, key);
    let p1 = weights_of(a1, all[1], own_position + 4u, key);
    let p2 = weights_of(a2, all[2], own_position + 8u, key);
    let p3 = weights_of(a3, all[3], own_position + 12u, key);
    let r0 = weights_of(b0, all[0], own_position, key + GROUP);
    let r1 = weights_of(b1, all[1], own_position + 4u, key + GROUP);
    let r2 = weights_of(b2, all[2], own_position + 8u, key + GROUP);
    let r3 = weights_of(b3, all[3], own_position + 12u, key + GROUP);
    totals = totals * rescale + sum_dealt(p0 + r0, p1 + r1, p2 + r2, p3 + r3, c);
    // Rows from 8 on have their fours of keys the other way round, so that lanes read different banks.
    let own = 4u * g * TILE_KEYS + j;
    let turned = 4u * g * TILE_KEYS + (j ^ 4u);
    scratch[own] = bitcast<vec4<u32>>(p0);
    scratch[own + TILE_KEYS] = bitcast<vec4<u32>>(p1);
    scratch[turned + 2u * TILE_KEYS] = bitcast<vec4<u32>>(p2);
    scratch[turned + 3u * TILE_KEYS] = bitcast<vec4<u32>>(p3);
    scratch[own + GROUP] = bitcast<vec4<u32>>(r0);
    scratch[own + TILE_KEYS + GROUP] = bitcast<vec4<u32>>(r1);
    scratch[turned + 2u * TILE_KEYS + GROUP] = bitcast<vec4<u32>>(r2);
    scratch[turned + 3u * TILE_KEYS + GROUP] = bitcast<vec4<u32>>(r3);
    workgroupBarrier();

    values0 = rescale.x * values0;
    values1 = rescale.y * values1;
    values2 = rescale.z * values2;
    values3 = rescale.w * values3;
    // Keys past the end read the last value, and weigh nothing for any row that counts.
    let weights = (4u * g + c) * TILE_KEYS;
    for (var n = 0u; n < min(TILE_KEYS, end - first_key); n += 4u) {
      let own_key = n + first_of_four(j);
      let v0 = value_unit((keys + slot_of(min(first_key + own_key, end - 1u))) * UNITS + unit);
      let v1 = mat2x4<f32>(quadSwapX(v0[0]), quadSwapX(v0[1]));
      let v2 = mat2x4<f32>(quadSwapY(v0[0]), quadSwapY(v0[1]));
      let v3 = mat2x4<f32>(quadSwapDiagonal(v0[0]), quadSwapDiagonal(v0[1]));
      // A column a row, a component a key.
      let w = transpose(four_weights(weights, own_key ^ (c / 2u * 4u)));
      values0 = weighed(values0, w[0], v0, v1, v2, v3);
      values1 = weighed(values1, w[1], v0, v1, v2, v3);
      values2 = weighed(values2, w[2], v0, v1, v2, v3);
      values3 = weighed(values3, w[3], v0, v1, v2, v3);
    }
    workgroupBarrier();
  }

  exchange(sum_beside(totals), exchanged, j);
  totals = vec4<f32>(0.0);
  for (var n = 0u; n < EXCHANGED; n++) {
    totals += weight(exchanged + n);
  }
  if (MORE) {
    if (j < 4u) {
      carry(row, head, highest, totals);
    }
    totals = vec4<f32>(1.0);
  }
  put(values0, totals.x, row, head, j / 4u);
  put(values1, totals.y, row + 1u, head, j / 4u);
  put(values2, totals.z, row + 2u, head, j / 4u);
  put(values3, totals.w, row + 3u, head, j / 4u);
}
