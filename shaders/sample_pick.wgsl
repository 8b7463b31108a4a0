// Sampling, one workgroup: draws a token from the logits and what finish/logits.wgsl left of them, and moves the step on by one.
// Temperature 0 takes the most probable token, the lowest id of equals. Otherwise, in this order: temperature, top-k, top-p, min-p, one draw.
// Each of the three keeps a beginning of the tokens ordered by falling logit and, among equals, rising id; what is left is the shortest.
//
// Probabilities are integers in units of 2^-31, rounded to nearest: sums are exact in any order, so that a seed always gives the same token.
// A probability is off by at most 2^-32, and relatively by what exp rounds (about 2^-20).
//
// Where few tokens can be left, they are gathered and ranked among themselves. Otherwise the limits are found by radix selection over the
// whole vocabulary, without sorting it. Both ways give the same token.
//
// Then the next step is prepared, by a fragment of shaders/next.

@group(0) @binding(2) var<storage, read_write> sequence: Sequence;
@group(0) @binding(3) var<storage, read> logits: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> partials: array<Partial>;

// Tokens that are known to be different and large: the best of the partials that each invocation looks at.
const LEADERS: u32 = min(PARTIALS, WORKGROUP);
const NOTHING: u32 = 0xffffffffu;

// The leaders at first, then the gathered tokens.
var<workgroup> few_keys: array<u32, WORKGROUP>;
var<workgroup> few_ids: array<u32, WORKGROUP>;
var<workgroup> few_masses: array<u32, WORKGROUP>;
var<workgroup> few: atomic<u32>;
var<workgroup> totals: array<atomic<u32>, 2>;

var<workgroup> float_sums: array<f32, WORKGROUP>;
var<workgroup> bins: array<atomic<u32>, WORKGROUP>;
var<workgroup> bin_ends: array<u32, WORKGROUP>;
// A bin, what comes before it, and what is in it.
var<workgroup> found: vec3<u32>;

var<workgroup> peak: u32;
var<workgroup> bound: u32;
var<workgroup> shared_word: u32;
var<workgroup> chosen: u32;
// The sampling parameters, the same for all invocations as far as a compiler can see.
var<workgroup> drawn_by: Sampling;

// The greatest logit, halved, and 2^31 / Z.
var<private> half_peak: f32;
var<private> mass_scale: f32;

// The last token that is kept in the order of falling keys and rising ids.
struct Cut {
  key: u32,
  id: u32,
}

fn ahead(key: u32, id: u32, other_key: u32, other_id: u32) -> bool {
  return key > other_key || (key == other_key && id < other_id);
}

fn mass(key: u32) -> u32 {
  return u32(relative_weight(half_logit(key) - half_peak, sequence.sampling.temperature) * mass_scale + 0.5);
}

fn within_min_p(key: u32) -> bool {
  return half_logit(key) - half_peak >= sequence.sampling.min_p_reach;
}

// The least mass that top-p asks of a total.
fn top_p_mass(total: u32, top_p: u32) -> u32 {
  let rest = total * top_p;
  return max(multiply_high(total, top_p) + select(0u, 1u, rest > 0u), 1u);
}

// Below `total`, each as often as the others to within 2^-32.
fn random_below(total: u32) -> u32 {
  let random = philox(vec4<u32>(sequence.step.drawn, 0u, 0u, 0u), vec2<u32>(sequence.sampling.seed_low, sequence.sampling.seed_high));
  return multiply_high(random.x, total);
}

// A real token that can be drawn and is not beyond the cut.
fn kept(key: u32, id: u32, cut: Cut) -> bool {
  return id < VOCAB && key > MINUS_INFINITY && (key > cut.key || (key == cut.key && id <= cut.id));
}

fn share_word(index: u32, value: u32) -> u32 {
  if (index == 0u) {
    shared_word = value;
  }
  return workgroupUniformLoad(&shared_word);
}

fn clear_bins(index: u32) {
  atomicStore(&bins[index], 0u);
  workgroupBarrier();
}

// Running sums of the bins; returns the sum of all.
fn sum_bins(index: u32) -> u32 {
  workgroupBarrier();
  bin_ends[index] = atomicLoad(&bins[index]);
  workgroupBarrier();
  for (var distance = 1u; distance < WORKGROUP; distance <<= 1u) {
    var left = 0u;
    if (index >= distance) {
      left = bin_ends[index - distance];
    }
    workgroupBarrier();
    bin_ends[index] += left;
    workgroupBarrier();
  }
  return share_word(index, bin_ends[WORKGROUP - 1u]);
}

// The bin that holds unit number `target` of a total that sum_bins gave and that is greater.
fn find_bin(index: u32, target_unit: u32) -> vec3<u32> {
  let size = atomicLoad(&bins[index]);
  let first = bin_ends[index] - size;
  if (first <= target_unit && target_unit < first + size) {
    found = vec3<u32>(index, first, size);
  }
  return workgroupUniformLoad(&found);
}

// The shortest beginning of the tokens within `cut` that has top_k tokens or, BY_MASS, top_p of their mass.
// Seven rounds at most: each fixes 8 more bits of the last token's key, then of its id, until all that agree with them are kept.
fn select_beginning(index: u32, sampling: Sampling, cut: Cut, by_mass: bool) -> Cut {
  var key = 0u;
  var key_known = 0u;
  var id = 0u;
  var id_known = 0u;
  var missing = sampling.top_k - 1u;
  for (var round = 0u; round < 7u; round++) {
    let shift = select(48u, 24u, round < 4u) - 8u * round;
    clear_bins(index);
    for (var quad = index; quad < QUADS; quad += WORKGROUP) {
      let bits = logits[quad];
      for (var c = 0u; c < 4u; c++) {
        let other = key_of(bits[c]);
        let other_id = 4u * quad + c;
        if (kept(other, other_id, cut) && ((other ^ key) & key_known) == 0u && ((other_id ^ id) & id_known) == 0u) {
          let digit = select((other_id >> shift) & 255u, 255u - ((other >> shift) & 255u), round < 4u);
          var size = 1u;
          if (by_mass) {
            size = mass(other);
          }
          if (size > 0u) {
            atomicAdd(&bins[digit], size);
          }
        }
      }
    }
    let total = sum_bins(index);
    if (round == 0u) {
      if (by_mass) {
        missing = top_p_mass(total, sampling.top_p) - 1u;
      }
      if (missing >= total) {
        return cut;
      }
    }
    let bin = find_bin(index, min(missing, total - 1u));
    missing -= bin.y;
    if (round < 4u) {
      key |= (255u - bin.x) << shift;
      key_known |= 255u << shift;
    } else {
      id |= bin.x << shift;
      id_known |= 255u << shift;
    }
    if (missing + 1u == bin.z) {
      break;
    }
    // With its key complete, what is in the bin has one mass: if it is that of one token, no id needs to be found.
    if (by_mass && round == 3u) {
      if (bin.z == share_word(index, mass(key))) {
        break;
      }
    }
  }
  return Cut(key, id | (~id_known & 0xffffffu));
}

// Draws from all tokens within `cut` and min-p: first which of 256 runs of ids, then which invocation's part of it, then which token.
fn draw_from_all(index: u32, cut: Cut) {
  clear_bins(index);
  for (var quad = index; quad < QUADS; quad += WORKGROUP) {
    let size = quad_mass(quad, cut);
    if (size > 0u) {
      atomicAdd(&bins[quad / RUN], size);
    }
  }
  let total = sum_bins(index);
  if (total == 0u) {
    return;
  }
  let target_unit = share_word(index, random_below(total));
  let run = find_bin(index, target_unit);
  let left = target_unit - run.y;
  let run_end = min((run.x + 1u) * RUN, QUADS);
  let first = run.x * RUN + index * PART;
  let end = min(first + PART, run_end);

  clear_bins(index);
  for (var quad = first; quad < end; quad++) {
    atomicAdd(&bins[index], quad_mass(quad, cut));
  }
  let run_total = sum_bins(index);
  if (run_total == 0u) {
    return;
  }
  let part = find_bin(index, min(left, run_total - 1u));
  if (index == part.x) {
    var rest = min(left, run_total - 1u) - part.y;
    for (var id = 4u * first; id < 4u * end; id++) {
      let key = key_of(logits[id / 4u][id % 4u]);
      if (kept(key, id, cut) && within_min_p(key)) {
        let size = mass(key);
        if (size > 0u) {
          chosen = id;
          if (rest < size) {
            break;
          }
          rest -= size;
        }
      }
    }
  }
}

fn quad_mass(quad: u32, cut: Cut) -> u32 {
  let bits = logits[quad];
  var sum = 0u;
  for (var c = 0u; c < 4u; c++) {
    let key = key_of(bits[c]);
    if (kept(key, 4u * quad + c, cut) && within_min_p(key)) {
      sum += mass(key);
    }
  }
  return sum;
}

// Gathers the tokens with at least this key, in any order. Returns their number, which may be more than there is room for.
// Where top-p does not need their mass, those beyond min-p stay out.
fn gather(index: u32, least: u32) -> u32 {
  for (var quad = index; quad < QUADS; quad += WORKGROUP) {
    let bits = logits[quad];
    for (var c = 0u; c < 4u; c++) {
      let key = key_of(bits[c]);
      let id = 4u * quad + c;
      if (id < VOCAB && key >= least && key > MINUS_INFINITY && (sequence.sampling.top_p > 0u || within_min_p(key))) {
        let place = atomicAdd(&few, 1u);
        if (place < WORKGROUP) {
          few_keys[place] = key;
          few_ids[place] = id;
        }
      }
    }
  }
  workgroupBarrier();
  return share_word(index, atomicLoad(&few));
}

// Draws from the gathered tokens, one an invocation.
fn draw_from_few(index: u32, sampling: Sampling, count: u32) {
  let key = few_keys[index];
  let id = few_ids[index];
  let real = index < count;
  var size = 0u;
  if (real) {
    size = mass(key);
  }
  few_masses[index] = size;
  workgroupBarrier();

  var rank = 0u;
  var before = 0u;
  for (var other = 0u; other < count; other++) {
    if (ahead(few_keys[other], few_ids[other], key, id)) {
      rank += 1u;
      before += few_masses[other];
    }
  }
  var keep = real && (sampling.top_k == 0u || rank < sampling.top_k);
  if (keep) {
    atomicAdd(&totals[0], size);
  }
  workgroupBarrier();
  if (sampling.top_p > 0u && before >= top_p_mass(atomicLoad(&totals[0]), sampling.top_p)) {
    keep = false;
  }
  keep = keep && within_min_p(key);
  if (keep) {
    atomicAdd(&totals[1], size);
  }
  few_masses[index] = select(0u, size, keep);
  workgroupBarrier();

  let target_unit = random_below(atomicLoad(&totals[1]));
  var first = 0u;
  for (var other = 0u; other < count; other++) {
    if (few_ids[other] < id) {
      first += few_masses[other];
    }
  }
  if (keep && first <= target_unit && target_unit < first + size) {
    chosen = id;
  }
}

// Of LEADERS different tokens, top_k have at least this key: nothing below it can be among the top_k of all.
fn find_bound(index: u32, key: u32) {
  if (index >= LEADERS) {
    return;
  }
  var rank = 1u;
  for (var other = 0u; other < LEADERS; other++) {
    let other_key = few_keys[other];
    rank += select(0u, 1u, other_key > key || (other_key == key && other < index));
  }
  if (rank == sequence.sampling.top_k) {
    bound = key;
  }
}

// Draws a token, which `chosen` becomes.
fn draw(index: u32, sampling: Sampling) {
  var mine = Partial(0u, NOTHING, 0.0);
  for (var i = index; i < PARTIALS; i += WORKGROUP) {
    let other = partials[i];
    if (ahead(other.key, other.id, mine.key, mine.id)) {
      mine = other;
    }
  }
  few_keys[index] = mine.key;
  few_ids[index] = mine.id;
  if (index == 0u) {
    atomicStore(&few, 0u);
    atomicStore(&totals[0], 0u);
    atomicStore(&totals[1], 0u);
    bound = 0u;
  }
  workgroupBarrier();
  let temperature = sampling.temperature;
  let few_by_top_k = sampling.top_k > 0u && sampling.top_k <= LEADERS;
  let few_by_min_p = sampling.top_k == 0u && sampling.top_p == 0u && sampling.min_p_reach > -1e30;
  if (temperature > 0.0 && few_by_top_k) {
    find_bound(index, mine.key);
    workgroupBarrier();
  }
  for (var half = WORKGROUP / 2u; half > 0u; half >>= 1u) {
    if (index < half) {
      let other = index + half;
      if (ahead(few_keys[other], few_ids[other], few_keys[index], few_ids[index])) {
        few_keys[index] = few_keys[other];
        few_ids[index] = few_ids[other];
      }
    }
    workgroupBarrier();
  }
  if (index == 0u) {
    peak = few_keys[0];
    chosen = few_ids[0];
  }
  let top = workgroupUniformLoad(&peak);
  if (temperature <= 0.0 || top <= MINUS_INFINITY) {
    return;
  }

  half_peak = half_logit(top);
  var part = 0.0;
  for (var i = index; i < PARTIALS; i += WORKGROUP) {
    let other = partials[i];
    if (other.key > MINUS_INFINITY) {
      part += other.sum * relative_weight(half_logit(other.key) - half_peak, temperature);
    }
  }
  float_sums[index] = part;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half >>= 1u) {
    if (index < half) {
      float_sums[index] += float_sums[index + half];
    }
    workgroupBarrier();
  }
  mass_scale = 2147483648.0 / float_sums[0];

  var count = NOTHING;
  if (few_by_top_k || few_by_min_p) {
    count = gather(index, bound);
  }
  if (count <= WORKGROUP) {
    draw_from_few(index, sampling, count);
  } else {
    var cut = Cut(0u, NOTHING);
    if (sampling.top_k > 0u) {
      cut = select_beginning(index, sampling, cut, false);
    }
    if (sampling.top_p > 0u) {
      cut = select_beginning(index, sampling, cut, true);
    }
    draw_from_all(index, cut);
  }
}

// The token joins the history; the one that it replaces there is no longer `seen`, unless it stands elsewhere too.
fn remember(index: u32, token: u32) {
  let place = sequence.count % HISTORY;
  let old = sequence.history[place];
  if (index == 0u) {
    atomicStore(&few, u32(sequence.count < HISTORY || old == token));
  }
  workgroupBarrier();
  if (index < HISTORY && index != place && sequence.history[index] == old) {
    atomicStore(&few, 1u);
  }
  workgroupBarrier();
  if (index == 0u) {
    if (atomicLoad(&few) == 0u) {
      sequence.seen[old / 32u] &= ~(1u << (old % 32u));
    }
    sequence.seen[token / 32u] |= 1u << (token % 32u);
    sequence.history[place] = token;
    sequence.count += 1u;
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) index: u32) {
  if (index == 0u) {
    drawn_by = sequence.sampling;
  }
  draw(index, workgroupUniformLoad(&drawn_by));
  workgroupBarrier();
  let token = min(workgroupUniformLoad(&chosen), VOCAB - 1u);
  hand_over(index, token);
  remember(index, token);
  if (index == 0u) {
    sequence.step.token = token;
    sequence.step.position += sequence.step.rows;
    sequence.step.rows = 1u;
    sequence.step.drawn += 1u;
  }
}
