// GGUF Q8_1: f16 d; an f16 that only dot products of quants need; 32 signed bytes.
fn quant(at: u32, column: u32) -> u32 {
  return byte_at(at + 4u + column);
}

fn head(at: u32) -> u32 {
  return half_at(at);
}

fn sub(at: u32, i: u32) -> u32 {
  return 0u;
}
