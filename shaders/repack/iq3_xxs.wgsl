// GGUF IQ3_XXS: f16 d; 64 bytes, each a point of the grid for 4 columns; for every 32 columns 4 times 7 bits of signs and 4 of a scale.
fn quant(at: u32, column: u32) -> u32 {
  let point = grid(byte_at(at + 2u + column / 4u));
  let signs = word_at(at + 66u + 4u * (column / 32u)) >> (7u * (column / 8u % 4u));
  return code((point >> (3u * (column % 4u))) & 7u, sign(signs & 127u, column));
}

// In the order of the numbers.
fn code(level: u32, sign: u32) -> u32 {
  return select(8u + level, 7u - level, sign == 1u);
}

// The signs of 8 columns in 7 bits: an even number of them is set.
fn sign(bits: u32, column: u32) -> u32 {
  return select(bits >> (column % 8u), countOneBits(bits), column % 8u == 7u) & 1u;
}

fn head(at: u32) -> u32 {
  return half_at(at);
}

fn sub(at: u32, i: u32) -> u32 {
  return 2u * (word_at(at + 66u + 4u * i) >> 28u) + 1u;
}
