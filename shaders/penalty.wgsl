// Repetition penalty (Keskar et al. 2019, CTRL): once for every distinct token of the history, a positive logit is divided by the penalty
// and a negative one multiplied. One workgroup, one invocation for each place in the history.

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read> sampling: Sampling;
@group(0) @binding(2) var<storage, read> history: History;

@compute @workgroup_size(HISTORY)
fn main(@builtin(local_invocation_index) index: u32) {
  let id = history.ids[index];
  if (index >= history.count || id >= VOCAB) {
    return;
  }
  for (var other = 0u; other < index; other++) {
    if (history.ids[other] == id) {
      return;
    }
  }
  let logit = logits[id];
  if (logit > 0.0) {
    logits[id] = logit / sampling.repeat_penalty;
  } else {
    logits[id] = logit * sampling.repeat_penalty;
  }
}
