// The products are logits of one row, from quad Y_FIRST of the vocabulary on. The repetition penalty (Keskar et al. 2019, CTRL) divides a
// positive logit of a recent token by the penalty and multiplies a negative one. Each workgroup leaves in `partials` what sampling has to
// know of its tokens.

@group(0) @binding(3) var<storage, read> sequence: Sequence;
@group(0) @binding(4) var<storage, read_write> logits: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> partials: array<Partial>;

var<workgroup> group_partials: array<vec4<u32>, WORKGROUP / GROUP>;

fn penalized(logit: vec4<f32>, quad: u32) -> vec4<f32> {
  let penalty = sequence.sampling.repeat_penalty;
  if (penalty == 1.0) {
    return logit;
  }
  let recent = (vec4<u32>(sequence.seen[quad / 8u] >> (4u * (quad % 8u))) & vec4<u32>(1u, 2u, 4u, 8u)) != vec4<u32>(0u);
  return select(logit, select(logit * penalty, logit / penalty, logit > vec4<f32>(0.0)), recent);
}

fn finish(token: u32, pair: u32, a: vec4<f32>, b: vec4<f32>) -> vec4<u32> {
  let quad = Y_FIRST + 2u * pair;
  let first = penalized(outcome(quad, a), quad);
  let second = penalized(outcome(quad + 1u, b), quad + 1u);
  logits[quad] = first;
  if (2u * pair + 1u < QUADS) {
    logits[quad + 1u] = second;
  }
  var best = Partial(0u, NO_TOKEN, 0.0);
  for (var c = 0u; c < 8u; c++) {
    let key = key_of(bitcast<u32>(select(first[c % 4u], second[c % 4u], c >= 4u)));
    let id = 4u * quad + c;
    if (id < VOCAB && (key > best.key || best.id >= NO_TOKEN)) {
      best.key = key;
      best.id = id;
    }
  }
  let temperature = sequence.sampling.temperature;
  if (temperature > 0.0) {
    for (var c = 0u; c < 8u; c++) {
      let key = key_of(bitcast<u32>(select(first[c % 4u], second[c % 4u], c >= 4u)));
      if (4u * quad + c < VOCAB && key > MINUS_INFINITY) {
        best.sum += relative_weight(half_logit(key) - half_logit(best.key), temperature);
      }
    }
  }
  return vec4<u32>(best.key, best.id, bitcast<u32>(best.sum), 0u);
}

fn close(token: u32, carried: vec4<u32>, index: u32, workgroup: u32) {
  if (index % GROUP == 0u) {
    group_partials[index / GROUP] = carried;
  }
  workgroupBarrier();
  // A grid of two dimensions may have workgroups beyond the last pair.
  if (index == 0u && workgroup * (WORKGROUP / GROUP) < PAIRS) {
    // Groups come in the order of their tokens; those behind the last token carry zeros, which are no better than anything.
    var best = Partial(group_partials[0].x, group_partials[0].y, 0.0);
    for (var group = 1u; group < WORKGROUP / GROUP; group++) {
      let other = group_partials[group];
      if (other.x > best.key) {
        best.key = other.x;
        best.id = other.y;
      }
    }
    for (var group = 0u; group < WORKGROUP / GROUP; group++) {
      let other = group_partials[group];
      if (bitcast<f32>(other.z) > 0.0) {
        best.sum += bitcast<f32>(other.z) * relative_weight(half_logit(other.x) - half_logit(best.key), sequence.sampling.temperature);
      }
    }
    partials[PARTIAL_FIRST + workgroup] = best;
  }
  workgroupBarrier();
}
