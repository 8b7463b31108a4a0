// GGUF TQ2_0: 64 bytes as in Q2_K, plus 1; f16 d.
fn quant(at: u32, column: u32) -> u32 {
  return (byte_at(at + 32u * (column / 128u) + column % 32u) >> (2u * (column / 32u % 4u))) & 3u;
}

fn head(at: u32) -> u32 {
  return half_at(at + 64u);
}

fn sub(at: u32, i: u32) -> u32 {
  return 0u;
}
