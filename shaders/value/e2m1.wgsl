// FP4 (E2M1), doubled and in order: -12 -8 -6 -4 -3 -2 -1 0 1 2 3 4 6 8 12. This polynomial is never off by more than 0.45: rounded, it is the table.
fn number(code: vec4<f32>) -> vec4<f32> {
  return round(((0.0195 * code - 0.4095) * code + 3.5675) * code - 11.5955);
}

fn columns(codes: vec4<u32>) -> mat4x4<f32> {
  let q = bytes_to_columns(codes);
  return mat4x4<f32>(number(q[0]), number(q[1]), number(q[2]), number(q[3]));
}
