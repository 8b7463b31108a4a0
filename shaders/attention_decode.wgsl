// Attention of one query row over one stretch of the context (flash decoding, Dao et al. 2023): a workgroup takes one key/value head
// and SPLIT positions, reads their keys and values once for all PACK query heads that share them, and leaves for each head its
// largest score, the sum of its weights and the weighted sum of values. attention_merge.wgsl puts the stretches together.
// More query heads than fit a workgroup are spread over BLOCKS workgroups.
// DIRECT: the context has one stretch only, and what is left is the result itself, [head][HEAD_DIM].
//
// Keys: GROUP invocations share a row and each takes 4 rows of the stretch, GROUPS apart. Values: QUADS invocations share a row.
// Rows after the last slot are read as if they were the last one and weigh nothing; nor do those that are WINDOW or more positions back.
// Position p has the slot p % CAPACITY: a layer with a window keeps no more than the last positions.

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<KvUnit>;
@group(0) @binding(2) var<storage, read> v: array<KvQuad>;
// [head][split], each QUADS sums of values, then (sum of weights, largest score).
@group(0) @binding(3) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> step: Step;

const SPLIT: u32 = WORKGROUP;
const GROUPS: u32 = WORKGROUP / GROUP;
const UNITS: u32 = HEAD_DIM / 8u;
const QUADS: u32 = HEAD_DIM / 4u;
// Below every score, and far enough from the largest f32 that differences stay finite.
const LOWEST: f32 = -1e30;

var<workgroup> group_largest: array<f32, PACK * GROUPS>;
var<workgroup> largest: array<f32, PACK>;
var<workgroup> weights: array<f32, PACK * SPLIT>;
var<workgroup> slot_sums: array<vec4<f32>, ROUND * SLOTS * (QUADS + 1u)>;

// How many positions back a slot's is.
fn distances_of(slots: vec4<u32>) -> vec4<u32> {
  if (CAPACITY < CONTEXT) {
    return (step.position + CAPACITY - slots) % CAPACITY;
  }
  return step.position - slots;
}

fn in_window(distances: vec4<u32>) -> vec4<bool> {
  if (WINDOW == 0u) {
    return vec4<bool>(true);
  }
  return distances < vec4<u32>(WINDOW);
}

fn kernel(index: u32, subgroup: u32, workgroup: vec3<u32>, workgroups: vec3<u32>) {
  let kv_head = workgroup.x / BLOCKS;
  let pack_first = (workgroup.x % BLOCKS) * PACK;
  let first_head = kv_head * HEADS_PER_KV + pack_first;
  let heads = min(PACK, HEADS_PER_KV - pack_first);
  let first = workgroup.y * SPLIT;
  let last = min(step.position, CAPACITY - 1u) - first;
  let lane = index % GROUP;
  let group = index / GROUP;

  // Scores. An invocation ends up with those of its own position, one for each head.
  let rows = kv_head * CAPACITY + first;
  let row0 = (rows + min(group, last)) * UNITS;
  let row1 = (rows + min(group + GROUPS, last)) * UNITS;
  let row2 = (rows + min(group + 2u * GROUPS, last)) * UNITS;
  let row3 = (rows + min(group + 3u * GROUPS, last)) * UNITS;
  var sums = array<vec4<f32>, PACK>();
  for (var unit = lane; unit < UNITS; unit += GROUP) {
    let k0 = key_unit(row0 + unit);
    let k1 = key_unit(row1 + unit);
    let k2 = key_unit(row2 + unit);
    let k3 = key_unit(row3 + unit);
    for (var h = 0u; h < PACK; h++) {
      let at = (first_head + min(h, heads - 1u)) * QUADS + 2u * unit;
      let lo = q[at];
      let hi = q[at + 1u];
      sums[h] += vec4<f32>(dot(k0[0], lo), dot(k1[0], lo), dot(k2[0], lo), dot(k3[0], lo));
      sums[h] += vec4<f32>(dot(k0[1], hi), dot(k1[1], hi), dot(k2[1], hi), dot(k3[1], hi));
    }
  }
  let own = group + GROUPS * lane;
  let slots = vec4<u32>(first) + min(vec4<u32>(group) + GROUPS * vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(last));
  let distances = distances_of(slots);
  let visible = in_window(distances);
  let own_visible = own <= last && in_window(distances_of(vec4<u32>(first + own))).x;
  var scores = array<f32, PACK>();
  for (var h = 0u; h < PACK; h++) {
    // A repeated row repeats a score: it does not change the largest.
    let products = group_sum4(sums[h], index, subgroup);
    let total = select(vec4<f32>(LOWEST), scored(products, first_head + h, distances), visible);
    scores[h] = select(select(total.x, total.y, lane == 1u), select(total.z, total.w, lane == 3u), lane >= 2u);
    if (lane == 0u) {
      group_largest[h * GROUPS + group] = max(max(total.x, total.y), max(total.z, total.w));
    }
  }
  workgroupBarrier();

  // The largest score of each head, by one group of invocations each.
  var highest = LOWEST;
  for (var i = lane; i < GROUPS; i += GROUP) {
    highest = max(highest, group_largest[min(group, PACK - 1u) * GROUPS + i]);
  }
  highest = group_max(highest, index, subgroup);
  if (lane == 0u && group < PACK) {
    largest[group] = highest;
  }
  workgroupBarrier();
  for (var h = 0u; h < PACK; h++) {
    weights[h * SPLIT + own] = select(0.0, exp(scores[h] - largest[h]), own_visible);
  }
  workgroupBarrier();

  // Weighted values, the positions shared out among SLOTS (a power of two, 16 at most), 4 loads on their way at once.
  let column = index % QUADS;
  let slot = index / QUADS;
  var values = array<vec4<f32>, PACK>();
  var totals = array<f32, PACK>();
  if (slot < SLOTS) {
    for (var i = slot; i < SPLIT; i += 4u * SLOTS) {
      let v0 = value_quad((rows + min(i, last)) * QUADS + column);
      let v1 = value_quad((rows + min(i + SLOTS, last)) * QUADS + column);
      let v2 = value_quad((rows + min(i + 2u * SLOTS, last)) * QUADS + column);
      let v3 = value_quad((rows + min(i + 3u * SLOTS, last)) * QUADS + column);
      for (var h = 0u; h < PACK; h++) {
        let at = h * SPLIT + i;
        let weight = vec4<f32>(weights[at], weights[at + SLOTS], weights[at + 2u * SLOTS], weights[at + 3u * SLOTS]);
        values[h] += weight.x * v0 + weight.y * v1 + weight.z * v2 + weight.w * v3;
        totals[h] += dot(weight, vec4<f32>(1.0));
      }
    }
  }
  for (var round = 0u; round < PACK; round += ROUND) {
    if (slot < SLOTS) {
      for (var h = 0u; h < min(ROUND, PACK - round); h++) {
        let at = (h * SLOTS + slot) * (QUADS + 1u);
        slot_sums[at + column] = values[round + h];
        if (column == 0u) {
          slot_sums[at + QUADS] = vec4<f32>(totals[round + h], 0.0, 0.0, 0.0);
        }
      }
    }
    workgroupBarrier();
    for (var i = index; i < ROUND * (QUADS + 1u); i += WORKGROUP) {
      let h = round + i / (QUADS + 1u);
      let part = i % (QUADS + 1u);
      if (h < heads) {
        var sum = vec4<f32>(0.0);
        var total = 0.0;
        for (var s = 0u; s < SLOTS; s++) {
          let at = ((h - round) * SLOTS + s) * (QUADS + 1u);
          sum += slot_sums[at + part];
          if (DIRECT) {
            total += slot_sums[at + QUADS].x;
          }
        }
        if (DIRECT) {
          if (part < QUADS) {
            partials[(first_head + h) * QUADS + part] = sum / total;
          }
          continue;
        }
        if (part == QUADS) {
          sum.y = largest[h];
        }
        partials[((first_head + h) * SPLITS + workgroup.y) * (QUADS + 1u) + part] = sum;
      }
    }
    workgroupBarrier();
  }
}
