// FP4 (E2M1), doubled and in order: -12 -8 -6 -4 -3 -2 -1 0 1 2 3 4 6 8 12, here plus 7. The steps are 1, and 2 beyond ±4, and 4 beyond ±8.
fn number(code: vec4<f32>) -> vec4<f32> {
  return 4.0 * code - clamp(code, vec4<f32>(3.0), vec4<f32>(11.0)) - 2.0 * clamp(code, vec4<f32>(1.0), vec4<f32>(13.0));
}

fn columns(codes: vec4<u32>) -> mat4x4<f32> {
  let q = bytes_to_columns(codes);
  return mat4x4<f32>(number(q[0]), number(q[1]), number(q[2]), number(q[3]));
}
