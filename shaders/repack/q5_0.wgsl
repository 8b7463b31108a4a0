// GGUF Q5_0: f16 d; 32 fifth bits in the order of columns; 16 bytes of nibbles as in Q4_0; plus 16.
fn quant(at: u32, column: u32) -> u32 {
  let low = (byte_at(at + 6u + column % 16u) >> (4u * (column / 16u))) & 15u;
  return low | (((word_at(at + 2u) >> column) & 1u) << 4u);
}

fn head(at: u32) -> u32 {
  return half_at(at);
}

fn sub(at: u32, i: u32) -> u32 {
  return 0u;
}
