// 5 bits a weight. 4 units are 5 vec4 (component = row): the low bits of each as in nibbles.wgsl, then the fifth bits as in ones.wgsl.

fn unit_quants(unit: u32) -> Unit {
  let first = 5u * (unit / 4u);
  let low = quants[first + unit % 4u];
  let high = quants[first + 4u] >> vec4<u32>(2u * (unit % 4u));
  return Unit(
    columns((low & vec4<u32>(0x0f0f0f0fu)) | ((high << vec4<u32>(4u)) & vec4<u32>(0x10101010u))),
    columns(((low >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu)) | ((high << vec4<u32>(3u)) & vec4<u32>(0x10101010u))),
  );
}
