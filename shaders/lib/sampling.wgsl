// What the sampling kernels share: their parameters, and logits as integers that compare as the numbers do.

struct Sampling {
  // 0: greedy.
  temperature: f32,
  // 0: off.
  top_k: u32,
  // In units of 2^-32; 0: off.
  top_p: u32,
  // Half the distance in logits from the most probable token beyond which min-p drops a token; never positive.
  min_p_reach: f32,
  // 1: off.
  repeat_penalty: f32,
  seed_low: u32,
  seed_high: u32,
}

// What one workgroup of the LM head found among its tokens.
struct Partial {
  // The greatest key and the lowest id that has it; ids from NO_TOKEN on mean that there was no token.
  key: u32,
  id: u32,
  // Sum of exp((logit - that maximum) / temperature).
  sum: f32,
}

const NO_TOKEN: u32 = 0xffff0000u;
// Tokens with this key or a lower one (NaN) are never drawn.
const MINUS_INFINITY: u32 = 0x007fffffu;

// A logit's bits as a key. NaN comes below everything, +infinity becomes the greatest finite number, -0 becomes 0.
fn key_of(bits: u32) -> u32 {
  let size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) {
    return 0u;
  }
  if (bits == 0x7f800000u) {
    return 0xff7fffffu;
  }
  if (size == bits || size == 0u) {
    return size | 0x80000000u;
  }
  return ~bits;
}

// Half of the logit with this key, so that no difference of two overflows.
fn half_logit(key: u32) -> f32 {
  return 0.5 * bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

// exp(2 half_distance / temperature), for distances that are not positive.
fn relative_weight(half_distance: f32, temperature: f32) -> f32 {
  return exp(2.0 * (max(half_distance, -45.0 * temperature) / temperature));
}
