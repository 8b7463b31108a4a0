// Reading keys and values of a cache in blocks, by 4 elements or by 8.

fn key_quad(quad: u32) -> vec4<f32> {
  return scale_of(k[scale_word(quad)], quad) * quad_codes(k[quad / QUADS_PER_WORD], quad);
}

fn key_unit(unit: u32) -> mat2x4<f32> {
  let quad = 2u * unit;
  let codes = mat2x4<f32>(quad_codes(k[quad / QUADS_PER_WORD], quad), quad_codes(k[(quad + 1u) / QUADS_PER_WORD], quad + 1u));
  return scale_of(k[scale_word(quad)], quad) * codes;
}

fn value_quad(quad: u32) -> vec4<f32> {
  return scale_of(v[scale_word(quad)], quad) * quad_codes(v[quad / QUADS_PER_WORD], quad);
}

fn value_unit(unit: u32) -> mat2x4<f32> {
  let quad = 2u * unit;
  let codes = mat2x4<f32>(quad_codes(v[quad / QUADS_PER_WORD], quad), quad_codes(v[(quad + 1u) / QUADS_PER_WORD], quad + 1u));
  return scale_of(v[scale_word(quad)], quad) * codes;
}
