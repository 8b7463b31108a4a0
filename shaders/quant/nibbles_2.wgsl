// 6 bits a weight. 2 units are 3 vec4 (component = row): the low bits of each as in nibbles.wgsl, then the upper two as in twos.wgsl.

fn unit_quants(unit: u32) -> Unit {
  let first = 3u * (unit / 2u);
  let low = quants[first + unit % 2u];
  let high = quants[first + 2u] >> vec4<u32>(4u * (unit % 2u));
  return Unit(
    columns((low & vec4<u32>(0x0f0f0f0fu)) | ((high << vec4<u32>(4u)) & vec4<u32>(0x30303030u))),
    columns(((low >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu)) | ((high << vec4<u32>(2u)) & vec4<u32>(0x30303030u))),
  );
}
