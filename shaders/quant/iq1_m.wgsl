// 2 bits a weight as in twos.wgsl; and for each unit a bit of the block's bytes says whether its quants are an eighth more or less.

fn shifted(columns: mat4x4<f32>, by: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(columns[0] + by, columns[1] + by, columns[2] + by, columns[3] + by);
}

fn unit_quants(unit: u32) -> Unit {
  let q = quants[unit / 2u] >> vec4<u32>(4u * (unit % 2u));
  let less = (block_bytes(unit / 2u) >> vec4<u32>(3u + unit % 2u)) & vec4<u32>(1u);
  let by = select(vec4<f32>(0.125), vec4<f32>(-0.125), less == vec4<u32>(1u));
  return Unit(shifted(columns(q & vec4<u32>(0x03030303u)), by), shifted(columns((q >> vec4<u32>(2u)) & vec4<u32>(0x03030303u)), by));
}
