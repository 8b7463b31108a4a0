// Queries, keys and values with a bias: there is no binding left for it, so it lies behind the turns, its first quad at BIAS_QUAD.
fn biased(quad: u32, value: vec4<f32>) -> vec4<f32> {
  let at = 2u * (BIAS_QUAD + quad);
  return value + bitcast<vec4<f32>>(vec4<u32>(turns[at], turns[at + 1u]));
}
