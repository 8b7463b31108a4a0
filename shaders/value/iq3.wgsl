// The numbers of IQ3_XXS in order: -62 -52 -44 -36 -28 -20 -12 -4 4 12 20 28 36 44 52 62, here plus 60: steps of 8, but of 10 at the ends.
fn number(code: vec4<f32>) -> vec4<f32> {
  return 10.0 * code - 2.0 * clamp(code, vec4<f32>(1.0), vec4<f32>(14.0));
}

fn columns(codes: vec4<u32>) -> mat4x4<f32> {
  let q = bytes_to_columns(codes);
  return mat4x4<f32>(number(q[0]), number(q[1]), number(q[2]), number(q[3]));
}
