// A block has an f16 scale and an f16 minimum; weight = scale * quant + minimum.
// One word a row: the scale below, the minimum above.
const HAS_OFFSET: bool = true;

@group(0) @binding(1) var<storage, read> scales: array<vec4<u32>>;

fn block_scales(block: u32) -> Scales {
  let packed = scales[block];
  let a = unpack2x16float(packed.x);
  let b = unpack2x16float(packed.y);
  let c = unpack2x16float(packed.z);
  let d = unpack2x16float(packed.w);
  return Scales(vec4<f32>(a.x, b.x, c.x, d.x), vec4<f32>(a.y, b.y, c.y, d.y));
}
