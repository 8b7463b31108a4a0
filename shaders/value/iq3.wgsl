// The numbers of IQ3_XXS in order: -62 -52 -44 -36 -28 -20 -12 -4 4 12 20 28 36 44 52 62, here plus 62: steps of 8, but of 10 at the ends.
fn columns(codes: vec4<u32>) -> Columns {
  // 16 in every byte whose code is not the first, and in every byte whose code is the last.
  let not_first = (codes + vec4<u32>(0x0f0f0f0fu)) & vec4<u32>(0x10101010u);
  let last = (codes + vec4<u32>(0x01010101u)) & vec4<u32>(0x10101010u);
  return bytes_to_columns((codes << vec4<u32>(3u)) + ((not_first + last) >> vec4<u32>(3u)));
}
