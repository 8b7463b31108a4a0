// From products of queries and keys to scores: scaled, soft-capped, less what ALiBi (Press et al. 2021) takes for the distance.

fn alibi_slope(head: u32) -> f32 {
  // The heads up to a power of two have the slopes 2^(-ALIBI / n), its square and so on; those beyond have odd powers of that number's root.
  let n = 1u << (31u - countLeadingZeros(HEADS));
  if (head < n) {
    return exp2(-ALIBI * f32(head + 1u) / f32(n));
  }
  return exp2(-0.5 * ALIBI * f32(2u * (head - n) + 1u) / f32(n));
}

fn scored(products: vec4<f32>, head: u32, distances: vec4<u32>) -> vec4<f32> {
  var scores = SCALE * products;
  if (SOFT_CAP > 0.0) {
    scores = soft_capped(scores, SOFT_CAP);
  }
  if (ALIBI > 0.0) {
    scores -= alibi_slope(head) * vec4<f32>(distances);
  }
  return scores;
}
