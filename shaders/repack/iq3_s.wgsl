// GGUF IQ3_S: f16 d; 64 bytes, each the lower bits of a point of the grid for 4 columns; 64 upper bits of points; 256 signs; 8 nibbles of scales.
fn quant(at: u32, column: u32) -> u32 {
  let four = column / 4u;
  let point = grid(byte_at(at + 2u + four) | (((byte_at(at + 66u + four / 8u) >> (four % 8u)) & 1u) << 8u));
  return code((point >> (3u * (column % 4u))) & 7u, (byte_at(at + 74u + column / 8u) >> (column % 8u)) & 1u);
}

// In the order of the numbers.
fn code(level: u32, sign: u32) -> u32 {
  return select(8u + level, 7u - level, sign == 1u);
}

fn head(at: u32) -> u32 {
  return half_at(at);
}

fn sub(at: u32, i: u32) -> u32 {
  return 2u * ((byte_at(at + 106u + i / 2u) >> (4u * (i % 2u))) & 15u) + 1u;
}
