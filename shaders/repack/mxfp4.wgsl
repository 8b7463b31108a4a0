// GGUF MXFP4 (OCP Microscaling Formats 1.0): a byte e; 16 bytes of E2M1 as the nibbles of Q4_0.
fn quant(at: u32, column: u32) -> u32 {
  return in_order((byte_at(at + 1u + column % 16u) >> (4u * (column / 16u))) & 15u);
}

// From sign and magnitude to the order of the numbers; both zeros are 7.
fn in_order(code: u32) -> u32 {
  let magnitude = code & 7u;
  return select(7u + magnitude, 7u - magnitude, code >= 8u);
}

fn head(at: u32) -> u32 {
  return 0u;
}

fn sub(at: u32, i: u32) -> u32 {
  return byte_at(at);
}
