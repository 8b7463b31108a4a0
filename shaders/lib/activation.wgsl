// Activations of feed-forward networks, by number.
const SILU: u32 = 1u;
const GELU: u32 = 2u;
const RELU_SQUARED: u32 = 3u;

fn activated(x: vec4<f32>) -> vec4<f32> {
  if (ACTIVATION == SILU) {
    return x / (1.0 + exp(-x));
  }
  if (ACTIVATION == GELU) {
    // Hendrycks and Gimpel 2016: 0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3).
    return x / (1.0 + exp(-1.5957691216057308 * x * (1.0 + 0.044715 * x * x)));
  }
  if (ACTIVATION == RELU_SQUARED) {
    let positive = max(x, vec4<f32>(0.0));
    return positive * positive;
  }
  return x;
}
