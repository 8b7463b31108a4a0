// The 16 steps of IQ4_NL and IQ4_XS: -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113. They grow so evenly that this polynomial is never
// off by more than 0.436: rounded, it is the table, and no memory is read.
fn step_of(code: vec4<f32>) -> vec4<f32> {
  return round((((0.001586 * code + 0.031086) * code - 1.3719) * code + 24.174) * code - 126.57);
}

fn columns(codes: vec4<u32>) -> mat4x4<f32> {
  let q = bytes_to_columns(codes);
  return mat4x4<f32>(step_of(q[0]), step_of(q[1]), step_of(q[2]), step_of(q[3]));
}
