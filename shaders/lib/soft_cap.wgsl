// A soft cap (Gemma Team 2024): cap * tanh(x / cap), by an exponential that cannot overflow.
fn soft_capped(x: vec4<f32>, cap: f32) -> vec4<f32> {
  let e = exp(-2.0 / cap * abs(x));
  return sign(x) * cap * (1.0 - e) / (1.0 + e);
}
