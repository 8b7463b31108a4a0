// GGUF Q5_K: f16 d and dmin; 12 bytes of s and m; 32 bytes of fifth bits, bit b of byte i for column 32 b + i; 128 bytes as in Q4_K.
fn quant(at: u32, column: u32) -> u32 {
  let low = (byte_at(at + 48u + 32u * (column / 64u) + column % 32u) >> (4u * (column / 32u % 2u))) & 15u;
  return low | (((byte_at(at + 16u + column % 32u) >> (column / 32u)) & 1u) << 4u);
}

fn head(at: u32) -> u32 {
  return word_at(at);
}

// 12 bytes of eight 6-bit s and eight 6-bit m: byte i has s of block i below two more bits, byte 4 + i the same of m, and byte 8 + i the low
// four bits of s (below) and m of block 4 + i, whose upper two are those more bits.
fn sub(at: u32, i: u32) -> u32 {
  let block = i / 2u;
  let minimum = i % 2u;
  let whole = byte_at(at + 4u + 4u * minimum + block % 4u);
  if (block < 4u) {
    return whole & 63u;
  }
  return ((byte_at(at + 8u + block) >> (4u * minimum)) & 15u) | ((whole >> 6u) << 4u);
}
