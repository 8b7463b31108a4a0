// A block of a key/value cache in Q8_0: 32 elements, each a signed byte times d, which is the largest magnitude / 127. A word is a quad.

const QUADS_PER_WORD: u32 = 1u;

fn quad_codes(word: u32, quad: u32) -> vec4<f32> {
  let bytes = vec4<i32>(bitcast<i32>(word)) << vec4<u32>(24u, 16u, 8u, 0u);
  return vec4<f32>(bytes >> vec4<u32>(24u));
}

fn block_scale(extreme: f32) -> f32 {
  return abs(extreme) / 127.0;
}

// Halves go away from zero, as in ggml.
fn coded(values: vec4<f32>) -> u32 {
  let codes = vec4<u32>(vec4<i32>(sign(values) * floor(abs(values) + 0.5))) & vec4<u32>(0xffu);
  return codes.x | (codes.y << 8u) | (codes.z << 16u) | (codes.w << 24u);
}
