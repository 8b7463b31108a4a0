// As columns.wgsl, but each byte becomes a number where it lies and is scaled down after that, which is exact: not every device shifts vectors quickly.
alias Columns = mat4x4<f32>;

// Byte j of a row's word is column j.
fn bytes_to_columns(q: vec4<u32>) -> Columns {
  // Below 2^31 the number is the same with a sign, and quicker to convert.
  return mat4x4<f32>(
    vec4<f32>(bitcast<vec4<i32>>(q & vec4<u32>(0xffu))),
    vec4<f32>(bitcast<vec4<i32>>(q & vec4<u32>(0xff00u))) * 0x1p-8,
    vec4<f32>(bitcast<vec4<i32>>(q & vec4<u32>(0xff0000u))) * 0x1p-16,
    vec4<f32>(q & vec4<u32>(0xff000000u)) * 0x1p-24,
  );
}
