// GGUF IQ2_S: f16 d; 32 bytes, each the lower bits of a point of the grid for 8 columns; 256 signs; 32 pairs of the points' upper bits; 16 nibbles
// of scales.
fn quant(at: u32, column: u32) -> u32 {
  let eight = column / 8u;
  let point = grid(byte_at(at + 2u + eight) | (((byte_at(at + 66u + eight / 4u) >> (2u * (eight % 4u))) & 3u) << 8u));
  return code((point >> (2u * (column % 8u))) & 3u, (byte_at(at + 34u + eight) >> (column % 8u)) & 1u);
}

// In the order of the numbers.
fn code(level: u32, sign: u32) -> u32 {
  return select(3u + level, 2u - level, sign == 1u);
}

fn head(at: u32) -> u32 {
  return half_at(at);
}

fn sub(at: u32, i: u32) -> u32 {
  return 2u * ((byte_at(at + 74u + i / 2u) >> (4u * (i % 2u))) & 15u) + 1u;
}
