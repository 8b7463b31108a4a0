// GGUF Q3_K: 32 bytes of third bits, bit b of byte i for column 32 b + i; 64 bytes as in Q2_K; 12 bytes of s; f16 d; the quants plus 4.
fn quant(at: u32, column: u32) -> u32 {
  let low = (byte_at(at + 32u + 32u * (column / 128u) + column % 32u) >> (2u * (column / 32u % 4u))) & 3u;
  return low | (((byte_at(at + column % 32u) >> (column / 32u)) & 1u) << 2u);
}

fn head(at: u32) -> u32 {
  return half_at(at + 108u);
}

// Six bits, plus 32: 8 bytes with the low nibbles of s 0 to 7 below those of s 8 to 15, then 4 bytes with the upper bits of s i, i + 4, i + 8
// and i + 12.
fn sub(at: u32, i: u32) -> u32 {
  let low = (byte_at(at + 96u + i % 8u) >> (4u * (i / 8u))) & 15u;
  return (low | (((byte_at(at + 104u + i % 4u) >> (2u * (i / 4u))) & 3u) << 4u)) - 32u;
}
