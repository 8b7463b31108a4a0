// GGUF IQ1_S: f16 d; 32 bytes, each the lower bits of a point of the grid for 8 columns; for every 32 columns 4 times 3 upper bits of points, 3 of
// a scale, and a sign of the eighth that is added.
fn quant(at: u32, column: u32) -> u32 {
  let eight = column / 8u;
  let high = (half_at(at + 34u + 2u * (column / 32u)) >> (3u * (eight % 4u))) & 7u;
  return (grid(byte_at(at + 2u + eight) | (high << 8u)) >> (2u * (column % 8u))) & 3u;
}

fn head(at: u32) -> u32 {
  return half_at(at);
}

fn sub(at: u32, i: u32) -> u32 {
  let bits = half_at(at + 34u + 2u * i);
  let scale = 2u * ((bits >> 12u) & 7u) + 1u;
  return select(scale, 256u - scale, bits >= 0x8000u);
}
