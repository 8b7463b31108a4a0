// GGUF IQ4_XS: f16 d; 8 upper pairs of bits of s; 8 low nibbles of s; 8 times 16 bytes of nibbles as in Q4_0.
fn quant(at: u32, column: u32) -> u32 {
  return (byte_at(at + 8u + 16u * (column / 32u) + column % 16u) >> (4u * (column / 16u % 2u))) & 15u;
}

fn head(at: u32) -> u32 {
  return half_at(at);
}

// Plus 32.
fn sub(at: u32, i: u32) -> u32 {
  let low = (byte_at(at + 4u + i / 2u) >> (4u * (i % 2u))) & 15u;
  return (low | (((half_at(at + 2u) >> (2u * i)) & 3u) << 4u)) - 32u;
}
