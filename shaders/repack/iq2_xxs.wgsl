// GGUF IQ2_XXS: f16 d; for every 32 columns 4 bytes, each a point of the grid, and 32 bits: 4 times 7 of signs, and 4 of a scale.
fn quant(at: u32, column: u32) -> u32 {
  let eight = at + 2u + 8u * (column / 32u);
  let of_eight = column / 8u % 4u;
  let point = grid(byte_at(eight + of_eight));
  return code((point >> (2u * (column % 8u))) & 3u, sign((word_at(eight + 4u) >> (7u * of_eight)) & 127u, column));
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
  return 2u * (word_at(at + 6u + 8u * i) >> 28u) + 1u;
}
