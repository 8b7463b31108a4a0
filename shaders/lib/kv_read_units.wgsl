// Reading keys by 8 elements and values by 4.

fn key_unit(unit: u32) -> mat2x4<f32> {
  return unit_values(k[unit]);
}

fn value_quad(quad: u32) -> vec4<f32> {
  return quad_values(v[quad]);
}
