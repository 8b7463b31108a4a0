// 3 bits a weight. 4 units are 3 vec4 (component = row): the low bits as in twos.wgsl, then the third bits as in ones.wgsl.

fn unit_quants(unit: u32) -> Unit {
  let first = 3u * (unit / 4u);
  let low = quants[first + unit % 4u / 2u] >> vec4<u32>(4u * (unit % 2u));
  let high = quants[first + 2u] >> vec4<u32>(2u * (unit % 4u));
  return Unit(
    columns((low & vec4<u32>(0x03030303u)) | ((high << vec4<u32>(2u)) & vec4<u32>(0x04040404u))),
    columns(((low >> vec4<u32>(2u)) & vec4<u32>(0x03030303u)) | ((high << vec4<u32>(1u)) & vec4<u32>(0x04040404u))),
  );
}
