// GGUF Q4_1: f16 d and m; 16 bytes with column c in the low nibble of byte c, column c + 16 in its high nibble.
fn quant(at: u32, column: u32) -> u32 {
  return (byte_at(at + 4u + column % 16u) >> (4u * (column / 16u))) & 15u;
}

fn head(at: u32) -> u32 {
  return word_at(at);
}

fn sub(at: u32, i: u32) -> u32 {
  return 0u;
}
