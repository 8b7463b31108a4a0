// 256 columns have an f16 d and an f16 dmin, each block of 32 of them bytes s and m; weight = d * s * quant - dmin * m.
// Four words hold d (below) and dmin (above) of 4 rows, then two words for each block the s and the m of 4 rows.
const HAS_OFFSET: bool = true;

@group(0) @binding(1) var<storage, read> scales: array<vec4<u32>>;

fn bytes_of_rows(word: u32) -> vec4<f32> {
  return vec4<f32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu));
}

fn block_scales(block: u32) -> Scales {
  let first = 5u * (block / 8u);
  let packed = scales[first];
  let a = unpack2x16float(packed.x);
  let b = unpack2x16float(packed.y);
  let c = unpack2x16float(packed.z);
  let d = unpack2x16float(packed.w);
  let two_blocks = scales[first + 1u + block % 8u / 2u];
  let words = select(two_blocks.xy, two_blocks.zw, block % 2u == 1u);
  return Scales(
    vec4<f32>(a.x, b.x, c.x, d.x) * bytes_of_rows(words.x),
    vec4<f32>(a.y, b.y, c.y, d.y) * -bytes_of_rows(words.y),
  );
}
