// A block has a power of two: a byte e for 2^(e - 128), of 4 rows in a word; weight = scale * (quant + OFFSET).
// A few of its powers are so small or large that GPUs take them, or weights of that scale, for zero or infinity. No model has them.
const HAS_OFFSET: bool = OFFSET != 0.0;

@group(0) @binding(1) var<storage, read> scales: array<u32>;

fn block_scales(block: u32) -> Scales {
  let e = (vec4<u32>(scales[block]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
  // The two smallest are subnormal.
  let bits = select((e - vec4<u32>(1u)) << vec4<u32>(23u), vec4<u32>(0x00200000u) << e, e < vec4<u32>(2u));
  let scale = bitcast<vec4<f32>>(bits);
  return Scales(scale, OFFSET * scale);
}
