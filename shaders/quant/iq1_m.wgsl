// 2 bits a weight as in twos.wgsl; and for each unit a bit of the block's bytes says whether its quants are an eighth less or more. Here in eighths,
// and one more: 8 q or 8 q + 2.

fn unit_quants(unit: u32) -> Unit {
  let q = quants[unit / 2u] >> vec4<u32>(4u * (unit % 2u));
  let less = (block_bytes(unit / 2u) >> vec4<u32>(3u + unit % 2u)) & vec4<u32>(1u);
  let more = select(vec4<u32>(0x02020202u), vec4<u32>(0u), less == vec4<u32>(1u));
  return Unit(
    columns(((q << vec4<u32>(3u)) & vec4<u32>(0x18181818u)) | more),
    columns(((q << vec4<u32>(1u)) & vec4<u32>(0x18181818u)) | more),
  );
}
