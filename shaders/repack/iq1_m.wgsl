// GGUF IQ1_M: 32 bytes, each the lower bits of a point of the grid for 8 columns; a nibble for each of these, of its 3 upper bits and the sign of the
// eighth that is added; 4 times 16 bits: 4 times 3 of scales, and 4 of the f16 d.
fn quant(at: u32, column: u32) -> u32 {
  let eight = column / 8u;
  return (grid(byte_at(at + eight) | ((nibble(at, eight) & 7u) << 8u)) >> (2u * (column % 8u))) & 3u;
}

fn nibble(at: u32, eight: u32) -> u32 {
  return (byte_at(at + 32u + eight / 2u) >> (4u * (eight % 2u))) & 15u;
}

fn head(at: u32) -> u32 {
  let low = (half_at(at + 48u) >> 12u) | ((half_at(at + 50u) >> 8u) & 0xf0u);
  return low | ((half_at(at + 52u) >> 4u) & 0xf00u) | (half_at(at + 54u) & 0xf000u);
}

// The scale, and both signs above it.
fn sub(at: u32, i: u32) -> u32 {
  let scale = (half_at(at + 48u + 2u * (i / 4u)) >> (3u * (i % 4u))) & 7u;
  return scale | (nibble(at, 2u * i) & 8u) | ((nibble(at, 2u * i + 1u) & 8u) << 1u);
}
