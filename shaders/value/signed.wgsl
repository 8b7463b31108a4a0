// A byte is its quant, in two's complement.
fn columns(codes: vec4<u32>) -> mat4x4<f32> {
  let q = bitcast<vec4<i32>>(codes);
  return mat4x4<f32>(
    vec4<f32>((q << vec4<u32>(24u)) >> vec4<u32>(24u)),
    vec4<f32>((q << vec4<u32>(16u)) >> vec4<u32>(24u)),
    vec4<f32>((q << vec4<u32>(8u)) >> vec4<u32>(24u)),
    vec4<f32>(q >> vec4<u32>(24u)),
  );
}
