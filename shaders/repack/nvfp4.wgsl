// GGUF NVFP4: 4 bytes E4M3 for 16 columns each; 4 times 8 bytes of E2M1, the first 8 columns of 16 in the low nibbles.
fn quant(at: u32, column: u32) -> u32 {
  return in_order((byte_at(at + 4u + 8u * (column / 16u) + column % 8u) >> (4u * (column / 8u % 2u))) & 15u);
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
  return byte_at(at + i);
}
