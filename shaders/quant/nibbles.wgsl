// 4 bits a weight. A unit is one vec4 (component = row); byte j of a word holds column j in its low and column j + 4 in its high nibble.

fn unit_quants(unit: u32) -> Unit {
  let q = quants[unit];
  return Unit(columns(q & vec4<u32>(0x0f0f0f0fu)), columns((q >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu)));
}
