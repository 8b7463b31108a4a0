// GGUF Q2_K: 16 bytes of s (low nibbles) and m; 64 bytes, 32 for every 128 columns, the first 32 of these in the lowest bits; f16 d and dmin.
fn quant(at: u32, column: u32) -> u32 {
  return (byte_at(at + 16u + 32u * (column / 128u) + column % 32u) >> (2u * (column / 32u % 4u))) & 3u;
}

fn head(at: u32) -> u32 {
  return word_at(at + 80u);
}

fn sub(at: u32, i: u32) -> u32 {
  return byte_at(at + i);
}
