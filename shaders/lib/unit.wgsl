// Weights come in quads of 4 consecutive output rows and in units of 8 consecutive columns: one unit is 8 columns of 4 rows.
// lo holds columns 0 to 3, hi 4 to 7; each column of these matrices is one weight of each of the 4 rows, without scale and offset.
struct Unit {
  lo: mat4x4<f32>,
  hi: mat4x4<f32>,
}

// weight = scale * quant + offset, for each of the 4 rows of a block.
struct Scales {
  scale: vec4<f32>,
  offset: vec4<f32>,
}

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;

// Byte j of a row's word is column j.
fn bytes_to_columns(q: vec4<u32>) -> mat4x4<f32> {
  return mat4x4<f32>(
    vec4<f32>(q & vec4<u32>(0xffu)),
    vec4<f32>((q >> vec4<u32>(8u)) & vec4<u32>(0xffu)),
    vec4<f32>((q >> vec4<u32>(16u)) & vec4<u32>(0xffu)),
    vec4<f32>(q >> vec4<u32>(24u)),
  );
}
