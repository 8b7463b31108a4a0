// The numbers of IQ2 types in order: -43 -25 -8 8 25 43. This polynomial is never off by more than 0.27: rounded, it is the table.
fn number(code: vec4<f32>) -> vec4<f32> {
  return round(((0.11 * code - 0.825) * code + 18.5625) * code - 42.96875);
}

fn columns(codes: vec4<u32>) -> mat4x4<f32> {
  let q = bytes_to_columns(codes);
  return mat4x4<f32>(number(q[0]), number(q[1]), number(q[2]), number(q[3]));
}
