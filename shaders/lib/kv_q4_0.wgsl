// A block of a key/value cache in Q4_0: 32 elements, each (a nibble - 8) times d, which is the number of largest magnitude / -8. A word is
// two quads.

const QUADS_PER_WORD: u32 = 2u;

fn quad_codes(word: u32, quad: u32) -> vec4<f32> {
  let nibbles = vec4<u32>(word >> (16u * (quad & 1u))) >> vec4<u32>(0u, 4u, 8u, 12u);
  return vec4<f32>(nibbles & vec4<u32>(15u)) - 8.0;
}

fn block_scale(extreme: f32) -> f32 {
  return extreme / -8.0;
}

fn coded(values: vec4<f32>) -> u32 {
  let codes = min(vec4<u32>(values + 8.5), vec4<u32>(15u));
  return codes.x | (codes.y << 4u) | (codes.z << 8u) | (codes.w << 12u);
}
