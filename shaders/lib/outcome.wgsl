// What a product's value goes through before it is put away: bias, factor, soft cap, activation.

fn outcome(quad: u32, value: vec4<f32>) -> vec4<f32> {
  var y = OUTCOME_SCALE * biased(quad, value);
  if (SOFT_CAP > 0.0) {
    y = soft_capped(y, SOFT_CAP);
  }
  return activated(y);
}
