// A block has an f16 scale; weight = scale * (quant + OFFSET).
const HAS_OFFSET: bool = OFFSET != 0.0;

@group(0) @binding(1) var<storage, read> scales: array<vec2<u32>>;

fn block_scales(block: u32) -> Scales {
  let packed = scales[block];
  let scale = FACTOR * vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
  return Scales(scale, OFFSET * scale);
}
