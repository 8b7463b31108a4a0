// The router of a mixture of experts, one workgroup a token row: the USED experts with the greatest logits, in falling order, ties to the lower
// number, and their weights: softmax over all EXPERTS logits, or with NORMALIZED over those of the chosen only, times WEIGHT_SCALE.
// SHARED: the logit behind the experts' is the gate of an expert that all tokens share; its sigmoid goes to `shared_weight`.

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> routing: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> shared_weight: array<vec2<u32>>;

const LOWEST: f32 = -1e30;
const RUN: u32 = (EXPERTS + WORKGROUP - 1u) / WORKGROUP;

// What is no number, or no finite one, counts as one that can be compared, so that every expert is chosen once at most.
fn logit(first: u32, expert: u32) -> f32 {
  return min(max(logits[first + expert], LOWEST), -LOWEST);
}

fn kernel(index: u32, subgroup: u32, workgroup: vec3<u32>, workgroups: vec3<u32>) {
  let token = workgroup.y;
  let first = token * LOGITS_STRIDE;
  // Which of an invocation's experts are taken already, a bit each: RUN is at most 32.
  var taken = 0u;
  var highest = LOWEST;
  for (var i = 0u; i < RUN; i++) {
    let expert = i * WORKGROUP + index;
    if (expert < EXPERTS) {
      highest = max(highest, logit(first, expert));
    }
  }
  highest = group_max(highest, index, subgroup);
  var all = 0.0;
  for (var i = 0u; i < RUN; i++) {
    let expert = i * WORKGROUP + index;
    if (expert < EXPERTS) {
      all += exp(logit(first, expert) - highest);
    }
  }
  all = group_sum(all, index, subgroup);

  var chosen_sum = 0.0;
  for (var choice = 0u; choice < USED; choice++) {
    var best = LOWEST;
    for (var i = 0u; i < RUN; i++) {
      let expert = i * WORKGROUP + index;
      if (expert < EXPERTS && (taken & (1u << i)) == 0u) {
        best = max(best, logit(first, expert));
      }
    }
    let greatest = group_max(best, index, subgroup);
    // Of equal logits the lowest expert: the least number is the greatest of its negation, which f32 holds exactly.
    var number = -f32(EXPERTS);
    for (var i = 0u; i < RUN; i++) {
      let expert = i * WORKGROUP + index;
      if (expert < EXPERTS && (taken & (1u << i)) == 0u && logit(first, expert) == greatest) {
        number = max(number, -f32(expert));
      }
    }
    let expert = u32(-group_max(number, index, subgroup));
    if (expert % WORKGROUP == index) {
      taken |= 1u << (expert / WORKGROUP);
    }
    let weight = exp(greatest - highest);
    chosen_sum += weight;
    if (index == 0u) {
      // Should a device compare what is no number otherwise, the last expert stands in for nobody.
      routing[token * USED + choice] = vec2<u32>(min(expert, EXPERTS - 1u), bitcast<u32>(WEIGHT_SCALE * weight / all));
    }
  }
  if (NORMALIZED && index == 0u) {
    for (var choice = 0u; choice < USED; choice++) {
      let weight = bitcast<f32>(routing[token * USED + choice].y);
      routing[token * USED + choice].y = bitcast<u32>(weight * all / chosen_sum);
    }
  }
  if (SHARED && index == 0u) {
    shared_weight[token] = vec2<u32>(0u, bitcast<u32>(1.0 / (1.0 + exp(-logits[first + SHARED_AT]))));
  }
}
