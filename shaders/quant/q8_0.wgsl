// GGUF Q8_0: 32 columns share an f16 scale; weight = scale * byte, signed.
// A unit is two vec4 (component = row): columns 0 to 3 and 4 to 7, one byte each.
const UNITS_PER_BLOCK: u32 = 4u;
const HAS_OFFSET: bool = false;

@group(0) @binding(1) var<storage, read> scales: array<vec2<u32>>;

fn signed_bytes_to_columns(q: vec4<i32>) -> mat4x4<f32> {
  return mat4x4<f32>(
    vec4<f32>((q << vec4<u32>(24u)) >> vec4<u32>(24u)),
    vec4<f32>((q << vec4<u32>(16u)) >> vec4<u32>(24u)),
    vec4<f32>((q << vec4<u32>(8u)) >> vec4<u32>(24u)),
    vec4<f32>(q >> vec4<u32>(24u)),
  );
}

fn unit_quants(unit: u32) -> Unit {
  return Unit(
    signed_bytes_to_columns(bitcast<vec4<i32>>(quants[2u * unit])),
    signed_bytes_to_columns(bitcast<vec4<i32>>(quants[2u * unit + 1u])),
  );
}

fn block_scales(block: u32) -> Scales {
  let packed = scales[block];
  return Scales(vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y)), vec4<f32>(0.0));
}
