// Four columns as numbers: each column of the matrix is one weight of each of the 4 rows.
alias Columns = mat4x4<f32>;

// Byte j of a row's word is column j.
fn bytes_to_columns(q: vec4<u32>) -> Columns {
  return mat4x4<f32>(
    vec4<f32>(q & vec4<u32>(0xffu)),
    vec4<f32>((q >> vec4<u32>(8u)) & vec4<u32>(0xffu)),
    vec4<f32>((q >> vec4<u32>(16u)) & vec4<u32>(0xffu)),
    vec4<f32>(q >> vec4<u32>(24u)),
  );
}
