// 1 bit a weight. 4 units are one vec4 (component = row): byte j of a word holds columns j, j + 4, …, j + 28 from its lowest bit up.

fn unit_quants(unit: u32) -> Unit {
  let q = quants[unit / 4u] >> vec4<u32>(2u * (unit % 4u));
  return Unit(columns(q & vec4<u32>(0x01010101u)), columns((q >> vec4<u32>(1u)) & vec4<u32>(0x01010101u)));
}
