// IQ1_M: 256 columns have an f16 d, each block of 16 of them a byte; weight = d * (2 s + 1) * (quant - 1), where s is the low three bits of the
// byte. The next two belong to the quants.
// Two words hold the d of 4 rows, then a word for each block the bytes of 4 rows.
const HAS_OFFSET: bool = true;

@group(0) @binding(1) var<storage, read> scales: array<vec2<u32>>;

fn block_bytes(block: u32) -> vec4<u32> {
  let word = scales[9u * (block / 16u) + 1u + block % 16u / 2u][block % 2u];
  return vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u);
}

fn block_scales(block: u32) -> Scales {
  let packed = scales[9u * (block / 16u)];
  let d = vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
  let scale = d * vec4<f32>(2u * (block_bytes(block) & vec4<u32>(7u)) + vec4<u32>(1u));
  return Scales(scale, -scale);
}
