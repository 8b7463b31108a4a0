// Reading keys and values by 4 elements.

fn key_quad(quad: u32) -> vec4<f32> {
  return quad_values(k[quad]);
}

fn value_quad(quad: u32) -> vec4<f32> {
  return quad_values(v[quad]);
}
