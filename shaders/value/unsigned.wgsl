// A byte is its quant.
fn columns(codes: vec4<u32>) -> mat4x4<f32> {
  return bytes_to_columns(codes);
}
