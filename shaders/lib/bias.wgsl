// A product whose bias has a binding of its own, behind all others.
@group(0) @binding(BIAS_BINDING) var<storage, read> bias: array<vec4<f32>>;

fn biased(quad: u32, value: vec4<f32>) -> vec4<f32> {
  return value + bias[quad];
}
