// GGUF Q6_K: 128 bytes of low nibbles, 64 of upper pairs of bits, 16 signed bytes s, f16 d. Of each 128 columns, column c has its low bits in
// byte c % 64, the upper 64 in the high nibbles, and its upper bits in byte c % 32, the lowest for the first 32; plus 32.
fn quant(at: u32, column: u32) -> u32 {
  let half = column / 128u;
  let c = column % 128u;
  let low = (byte_at(at + 64u * half + c % 64u) >> (4u * (c / 64u))) & 15u;
  return low | (((byte_at(at + 128u + 32u * half + c % 32u) >> (2u * (c / 32u))) & 3u) << 4u);
}

fn head(at: u32) -> u32 {
  return half_at(at + 208u);
}

fn sub(at: u32, i: u32) -> u32 {
  return byte_at(at + 192u + i);
}
