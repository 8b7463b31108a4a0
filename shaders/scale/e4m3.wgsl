// A block has an FP8 scale (E4M3 without sign), halved, because its quants are doubled; of 4 rows in a word; weight = scale * (quant + OFFSET).
const HAS_OFFSET: bool = OFFSET != 0.0;

@group(0) @binding(1) var<storage, read> scales: array<u32>;

fn block_scales(block: u32) -> Scales {
  let bytes = (vec4<u32>(scales[block]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
  let exponent = (bytes >> vec4<u32>(3u)) & vec4<u32>(15u);
  // Exponent 0 has no implicit bit, and its step is that of exponent 1.
  let mantissa = (bytes & vec4<u32>(7u)) + select(vec4<u32>(8u), vec4<u32>(0u), exponent == vec4<u32>(0u));
  let step = bitcast<vec4<f32>>((max(exponent, vec4<u32>(1u)) + vec4<u32>(116u)) << vec4<u32>(23u));
  // 0x7f is not a number, and ggml takes it for none.
  let scale = select(vec4<f32>(mantissa) * step, vec4<f32>(0.0), bytes == vec4<u32>(0x7fu));
  return Scales(scale, OFFSET * scale);
}
