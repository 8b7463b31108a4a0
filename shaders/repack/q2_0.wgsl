// GGUF Q2_0: f16 d; 64 pairs of bits in the order of columns, plus 1.
fn quant(at: u32, column: u32) -> u32 {
  return (byte_at(at + 2u + column / 4u) >> (2u * (column % 4u))) & 3u;
}

fn head(at: u32) -> u32 {
  return half_at(at);
}

fn sub(at: u32, i: u32) -> u32 {
  return 0u;
}
