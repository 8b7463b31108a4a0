// GGUF Q8_0: f16 d; 32 signed bytes.
fn quant(at: u32, column: u32) -> u32 {
  return byte_at(at + 2u + column);
}

fn head(at: u32) -> u32 {
  return half_at(at);
}

fn sub(at: u32, i: u32) -> u32 {
  return 0u;
}
