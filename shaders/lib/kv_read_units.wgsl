// Reading keys and values by 8 elements.

fn key_unit(unit: u32) -> mat2x4<f32> {
  return unit_values(k[unit]);
}

fn value_unit(unit: u32) -> mat2x4<f32> {
  return unit_values(v[unit]);
}
