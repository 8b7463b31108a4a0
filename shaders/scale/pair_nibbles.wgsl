// 256 columns have an f16 d and an f16 dmin, each block of 16 of them nibbles s and m; weight = d * s * quant - dmin * m.
// Four words hold d (below) and dmin (above) of 4 rows, then a word for each block s (below) and m (above) of 4 rows.
const HAS_OFFSET: bool = true;

@group(0) @binding(1) var<storage, read> scales: array<vec4<u32>>;

fn block_scales(block: u32) -> Scales {
  let first = 5u * (block / 16u);
  let packed = scales[first];
  let a = unpack2x16float(packed.x);
  let b = unpack2x16float(packed.y);
  let c = unpack2x16float(packed.z);
  let d = unpack2x16float(packed.w);
  let word = scales[first + 1u + block % 16u / 4u][block % 4u];
  return Scales(
    vec4<f32>(a.x, b.x, c.x, d.x) * vec4<f32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u)),
    vec4<f32>(a.y, b.y, c.y, d.y) * -vec4<f32>((vec4<u32>(word) >> vec4<u32>(4u, 12u, 20u, 28u)) & vec4<u32>(15u)),
  );
}
