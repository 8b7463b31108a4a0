// GGUF Q4_0: 32 columns share an f16 scale; weight = scale * (nibble - 8).
// A unit is one vec4 (component = row); byte j of a word holds column j in its low and column j + 4 in its high nibble.
const UNITS_PER_BLOCK: u32 = 4u;
const HAS_OFFSET: bool = true;

@group(0) @binding(1) var<storage, read> scales: array<vec2<u32>>;

fn bytes_to_columns(q: vec4<u32>) -> mat4x4<f32> {
  return mat4x4<f32>(
    vec4<f32>(q & vec4<u32>(0xffu)),
    vec4<f32>((q >> vec4<u32>(8u)) & vec4<u32>(0xffu)),
    vec4<f32>((q >> vec4<u32>(16u)) & vec4<u32>(0xffu)),
    vec4<f32>(q >> vec4<u32>(24u)),
  );
}

fn unit_quants(unit: u32) -> Unit {
  let q = quants[unit];
  return Unit(bytes_to_columns(q & vec4<u32>(0x0f0f0f0fu)), bytes_to_columns((q >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu)));
}

fn block_scales(block: u32) -> Scales {
  let packed = scales[block];
  let scale = vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
  return Scales(scale, -8.0 * scale);
}
