// IQ1_S: 256 columns have an f16 d, each block of 32 of them a signed byte s; weight = d * |s| * (quant - 1) + d * s / 8.
// Two words hold the d of 4 rows, then a word for each block the s of 4 rows.
const HAS_OFFSET: bool = true;

@group(0) @binding(1) var<storage, read> scales: array<vec2<u32>>;

fn block_scales(block: u32) -> Scales {
  let first = 5u * (block / 8u);
  let packed = scales[first];
  let d = vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
  let s = vec4<i32>(bitcast<i32>(scales[first + 1u + block % 8u / 2u][block % 2u]));
  let signed = d * vec4<f32>((s << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
  let scale = select(signed, -signed, s << vec4<u32>(24u, 16u, 8u, 0u) < vec4<i32>(0));
  return Scales(scale, 0.125 * signed - scale);
}
