// Attention of one query row over one stretch of the context (flash decoding, Dao et al. 2023): a workgroup takes one key/value head
// and SPLIT positions, RUN times 4 WORKGROUP, fetches their keys and values once for all PACK query heads that share them, and leaves for each head its
// largest score, the sum of its weights and the weighted sum of values. attention_merge.wgsl puts the stretches together.
// More query heads than fit a workgroup are spread over BLOCKS workgroups, which follow each other and read the same rows.
// DIRECT: the context has one stretch only, and what is left is the result itself, [head][HEAD_DIM].
//
// Keys: GROUP = 4 invocations share 16 rows, 4 at a time, and each ends up with the scores of 4 consecutive rows.
// Products are summed for BATCH heads at once, so that registers suffice: the next ones find the 4 rows in a cache.
// KEEP: there is one batch, and its queries stay in registers.
// Values: UNITS invocations share a row. They are weighted for BATCH heads at once, too: for the next ones, the stretch's values are read
// again, from a cache mostly.
// Rows after the last slot are read as if they were the last one and weigh nothing; nor do those that are WINDOW or more positions back.
// RING: position p has the slot p % CAPACITY, for a layer with a window keeps no more than the last positions. Otherwise the slots are those of a
// segment of the cache, which begins with position FIRST; its stretches come behind FIRST_SPLIT others.

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<KvUnit>;
@group(0) @binding(2) var<storage, read> v: array<KvUnit>;
// [head][split], each QUADS sums of values, then (sum of weights, largest score).
@group(0) @binding(3) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> step: Step;

const UNITS: u32 = HEAD_DIM / 8u;
const QUADS: u32 = HEAD_DIM / 4u;
const GROUPS: u32 = WORKGROUP / GROUP;
// Units of a row that an invocation reads, and those of queries that it keeps for them.
const LANE_UNITS: u32 = (UNITS + GROUP - 1u) / GROUP;
const KEPT: u32 = select(1u, PACK * LANE_UNITS, KEEP);
// Every 4 rows of a stretch have one invocation that has their scores: one in every PART.
const PART: u32 = SPLIT / RUN;
const OWNERS: u32 = SPLIT / 4u;
// Below every score, and far enough from the largest f32 that differences stay finite.
const LOWEST: f32 = -1e30;

// What each owner has of a head: its largest score, then the sum of its weights; and that of all. Invocations share no vector that they
// write to: a component cannot be written alone everywhere.
var<workgroup> own: array<f32, PACK * WORKGROUP>;
var<workgroup> largest: array<f32, PACK>;
var<workgroup> totals: array<f32, PACK>;
// [head][owner], the weights of 4 rows each; then, in a head's part, [slot][unit], sums of values, a quad of each unit.
var<workgroup> scratch: array<vec4<f32>, PACK * OWNERS>;

// How many positions back a slot's is.
fn distances_of(slots: vec4<u32>) -> vec4<u32> {
  if (RING) {
    return (step.position + CAPACITY - slots) % CAPACITY;
  }
  return step.position - FIRST - slots;
}

fn in_window(distances: vec4<u32>) -> vec4<bool> {
  if (WINDOW == 0u) {
    return vec4<bool>(true);
  }
  return distances < vec4<u32>(WINDOW);
}

fn query(head: u32, unit: u32) -> mat2x4<f32> {
  let at = head * QUADS + 2u * unit;
  return mat2x4<f32>(q[at], q[at + 1u]);
}

// The products of 4 rows and a query so far, with 8 elements more.
fn products(k0: mat2x4<f32>, k1: mat2x4<f32>, k2: mat2x4<f32>, k3: mat2x4<f32>, q: mat2x4<f32>, sum: vec4<f32>) -> vec4<f32> {
  let lo = sum + vec4<f32>(dot(k0[0], q[0]), dot(k1[0], q[0]), dot(k2[0], q[0]), dot(k3[0], q[0]));
  return lo + vec4<f32>(dot(k0[1], q[1]), dot(k1[1], q[1]), dot(k2[1], q[1]), dot(k3[1], q[1]));
}

fn kernel(index: u32, subgroup: u32, workgroup: vec3<u32>, workgroups: vec3<u32>) {
  let kv_head = workgroup.x / BLOCKS;
  let pack_first = (workgroup.x % BLOCKS) * PACK;
  let first_head = kv_head * HEADS_PER_KV + pack_first;
  let heads = min(PACK, HEADS_PER_KV - pack_first);
  let first = workgroup.y * SPLIT;
  let last = min(step.position - FIRST, CAPACITY - 1u) - first;
  let rows = kv_head * CAPACITY + first;
  let lane = index % GROUP;
  let group = index / GROUP;

  var queries = array<mat2x4<f32>, KEPT>();
  if (KEEP) {
    for (var h = 0u; h < PACK; h++) {
      for (var u = 0u; u < LANE_UNITS; u++) {
        if (lane + u * GROUP < UNITS) {
          queries[h * LANE_UNITS + u] = query(first_head + min(h, heads - 1u), lane + u * GROUP);
        }
      }
    }
  }

  // Products of queries and keys, 4 rows at once. Rows after the last are not told by their number but by where they lie: addresses then
  // differ by constants.
  let last_key = (rows + last) * UNITS + lane;
  for (var s = 0u; s < 4u * RUN; s++) {
    let own_rows = s / 4u * PART + 16u * group;
    let at = (rows + own_rows + s % 4u) * UNITS + lane;
    for (var b = 0u; b < PACK; b += BATCH) {
      var sums = array<vec4<f32>, BATCH>();
      if (KEEP) {
        for (var u = 0u; u < LANE_UNITS; u++) {
          if (own_rows <= last && lane + u * GROUP < UNITS) {
            let k0 = key_unit(min(at, last_key) + u * GROUP);
            let k1 = key_unit(min(at + 4u * UNITS, last_key) + u * GROUP);
            let k2 = key_unit(min(at + 8u * UNITS, last_key) + u * GROUP);
            let k3 = key_unit(min(at + 12u * UNITS, last_key) + u * GROUP);
            for (var h = 0u; h < BATCH; h++) {
              sums[h] = products(k0, k1, k2, k3, queries[h * LANE_UNITS + u], sums[h]);
            }
          }
        }
      } else if (own_rows <= last) {
        for (var unit = lane; unit < UNITS; unit += GROUP) {
          let k0 = key_unit(min(at, last_key) + unit - lane);
          let k1 = key_unit(min(at + 4u * UNITS, last_key) + unit - lane);
          let k2 = key_unit(min(at + 8u * UNITS, last_key) + unit - lane);
          let k3 = key_unit(min(at + 12u * UNITS, last_key) + unit - lane);
          for (var h = 0u; h < BATCH; h++) {
            sums[h] = products(k0, k1, k2, k3, query(first_head + min(b + h, heads - 1u), unit), sums[h]);
          }
        }
      }
      for (var h = 0u; h < min(BATCH, PACK - b); h++) {
        let product = group_deal4(sums[h], index);
        scratch[(b + h) * OWNERS + s / 4u * WORKGROUP + index][s % 4u] = product;
      }
    }
  }

  // Scores, by the owners of their rows.
  var scores = array<vec4<f32>, PACK * RUN>();
  for (var r = 0u; r < RUN; r++) {
    let offsets = 4u * (r * WORKGROUP + index) + vec4<u32>(0u, 1u, 2u, 3u);
    let distances = distances_of(first + min(offsets, vec4<u32>(last)));
    let visible = (offsets <= vec4<u32>(last)) & in_window(distances);
    for (var h = 0u; h < PACK; h++) {
      let at = h * OWNERS + r * WORKGROUP + index;
      scores[h * RUN + r] = select(vec4<f32>(LOWEST), scored(scratch[at], first_head + h, distances), visible);
    }
  }
  for (var h = 0u; h < PACK; h++) {
    var highest = scores[h * RUN];
    for (var r = 1u; r < RUN; r++) {
      highest = max(highest, scores[h * RUN + r]);
    }
    own[h * WORKGROUP + index] = max(max(highest.x, highest.y), max(highest.z, highest.w));
  }
  workgroupBarrier();

  // A group of invocations for each head brings together what the owners have.
  for (var h = 0u; h < PACK; h += GROUPS) {
    let head = h + group;
    var highest = LOWEST;
    for (var i = select(WORKGROUP, lane, head < PACK); i < WORKGROUP; i += GROUP) {
      highest = max(highest, own[head * WORKGROUP + i]);
    }
    highest = group_max(highest, index, subgroup);
    if (lane == 0u && head < PACK) {
      largest[head] = highest;
    }
  }
  workgroupBarrier();
  for (var h = 0u; h < PACK; h++) {
    var sum = vec4<f32>(0.0);
    for (var r = 0u; r < RUN; r++) {
      // Rows that are not seen have the lowest score, and where there is a higher one that weighs nothing.
      let weight = exp(scores[h * RUN + r] - largest[h]);
      scratch[h * OWNERS + r * WORKGROUP + index] = weight;
      sum += weight;
    }
    own[h * WORKGROUP + index] = dot(sum, vec4<f32>(1.0));
  }
  workgroupBarrier();
  for (var h = 0u; h < PACK; h += GROUPS) {
    let head = h + group;
    var total = 0.0;
    for (var i = select(WORKGROUP, lane, head < PACK); i < WORKGROUP; i += GROUP) {
      total += own[head * WORKGROUP + i];
    }
    total = group_sum(total, index, subgroup);
    if (lane == 0u && head < PACK) {
      totals[head] = total;
    }
  }

  // Weighted values, the rows shared out among SLOTS by fours, consecutive ones to each.
  let column = index % UNITS;
  let slot = index / UNITS;
  let fours = min(OWNERS, last / 4u + 1u);
  let last_value = (rows + last) * UNITS + column;
  let run = (fours + SLOTS - 1u) / SLOTS;
  for (var b = 0u; b < PACK; b += BATCH) {
    var values = array<mat2x4<f32>, BATCH>();
    if (slot < SLOTS) {
      for (var i = slot * run; i < min(fours, slot * run + run); i++) {
        let at = (rows + 4u * i) * UNITS + column;
        let v0 = value_unit(min(at, last_value));
        let v1 = value_unit(min(at + UNITS, last_value));
        let v2 = value_unit(min(at + 2u * UNITS, last_value));
        let v3 = value_unit(min(at + 3u * UNITS, last_value));
        for (var h = 0u; h < BATCH; h++) {
          let weight = scratch[min(b + h, PACK - 1u) * OWNERS + i];
          values[h] += v0 * weight.x;
          values[h] += v1 * weight.y;
          values[h] += v2 * weight.z;
          values[h] += v3 * weight.w;
        }
      }
    }
    // Brought together: even quads first, then odd ones.
    for (var odd = 0u; odd < 2u; odd++) {
      workgroupBarrier();
      if (slot < SLOTS) {
        for (var h = 0u; h < min(BATCH, PACK - b); h++) {
          scratch[(b + h) * OWNERS + slot * UNITS + column] = select(values[h][0], values[h][1], odd == 1u);
        }
      }
      workgroupBarrier();
      for (var i = index; i < BATCH * UNITS; i += WORKGROUP) {
        let h = b + i / UNITS;
        let quad = 2u * (i % UNITS) + odd;
        if (h < heads) {
          var sum = vec4<f32>(0.0);
          for (var s = 0u; s < SLOTS; s++) {
            sum += scratch[h * OWNERS + s * UNITS + i % UNITS];
          }
          if (DIRECT) {
            partials[(first_head + h) * QUADS + quad] = sum / totals[h];
          } else {
            let partial = ((first_head + h) * SPLITS + FIRST_SPLIT + workgroup.y) * (QUADS + 1u);
            partials[partial + quad] = sum;
            if (quad == 0u) {
              partials[partial + QUADS] = vec4<f32>(totals[h], largest[h], 0.0, 0.0);
            }
          }
        }
      }
    }
  }
}
