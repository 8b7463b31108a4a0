// A byte is its quant.
fn columns(codes: vec4<u32>) -> Columns {
  return bytes_to_columns(codes);
}
