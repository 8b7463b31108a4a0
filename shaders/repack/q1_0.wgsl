// GGUF Q1_0: f16 d; 128 bits in the order of columns.
fn quant(at: u32, column: u32) -> u32 {
  return (byte_at(at + 2u + column / 8u) >> (column % 8u)) & 1u;
}

fn head(at: u32) -> u32 {
  return half_at(at);
}

fn sub(at: u32, i: u32) -> u32 {
  return 0u;
}
