// 2 bits a weight. 2 units are one vec4 (component = row): byte j of a word holds columns j, j + 4, j + 8 and j + 12 from its lowest bits up.

fn unit_quants(unit: u32) -> Unit {
  let q = quants[unit / 2u] >> vec4<u32>(4u * (unit % 2u));
  return Unit(columns(q & vec4<u32>(0x03030303u)), columns((q >> vec4<u32>(2u)) & vec4<u32>(0x03030303u)));
}
