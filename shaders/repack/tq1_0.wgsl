// GGUF TQ1_0: bytes of 5 digits to the base of 3, as fractions of 256: 32 bytes for 160 columns, 16 bytes for 80, 4 bytes for 16, each with the
// first columns in the highest digits; f16 d.
fn quant(at: u32, column: u32) -> u32 {
  var digit = column / 32u;
  var byte = column % 32u;
  if (column >= 160u) {
    digit = (column - 160u) / 16u;
    byte = 32u + column % 16u;
  }
  if (column >= 240u) {
    digit = (column - 240u) / 4u;
    byte = 48u + column % 4u;
  }
  var fraction = byte_at(at + byte);
  for (var i = 0u; i < digit; i++) {
    fraction = (3u * fraction) & 0xffu;
  }
  return (3u * fraction) >> 8u;
}

fn head(at: u32) -> u32 {
  return half_at(at + 52u);
}

fn sub(at: u32, i: u32) -> u32 {
  return 0u;
}
