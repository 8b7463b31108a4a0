// 256 columns have an f16 d, each block of them a signed byte s; weight = FACTOR * d * s * (quant + OFFSET).
// Two words hold the d of 4 rows, then a word for each block the s of 4 rows.
const HAS_OFFSET: bool = OFFSET != 0.0;

@group(0) @binding(1) var<storage, read> scales: array<vec2<u32>>;

const BLOCKS_PER_HALF: u32 = 32u / UNITS_PER_BLOCK;

fn block_scales(block: u32) -> Scales {
  let first = (1u + BLOCKS_PER_HALF / 2u) * (block / BLOCKS_PER_HALF);
  let of_half = block % BLOCKS_PER_HALF;
  let packed = scales[first];
  let d = FACTOR * vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
  let s = vec4<i32>(bitcast<i32>(scales[first + 1u + of_half / 2u][of_half % 2u]));
  let scale = d * vec4<f32>((s << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
  return Scales(scale, OFFSET * scale);
}
