// GGUF IQ2_XS: f16 d; for every 8 columns 9 bits for a point of the grid and 7 of signs; 16 nibbles of scales.
fn quant(at: u32, column: u32) -> u32 {
  let both = half_at(at + 2u + 2u * (column / 8u));
  return code((grid(both & 511u) >> (2u * (column % 8u))) & 3u, sign(both >> 9u, column));
}

// In the order of the numbers.
fn code(level: u32, sign: u32) -> u32 {
  return select(3u + level, 2u - level, sign == 1u);
}

// The signs of 8 columns in 7 bits: an even number of them is set.
fn sign(bits: u32, column: u32) -> u32 {
  return select(bits >> (column % 8u), countOneBits(bits), column % 8u == 7u) & 1u;
}

fn head(at: u32) -> u32 {
  return half_at(at);
}

fn sub(at: u32, i: u32) -> u32 {
  return 2u * ((byte_at(at + 66u + i / 2u) >> (4u * (i % 2u))) & 15u) + 1u;
}
