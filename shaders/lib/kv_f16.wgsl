// A key/value cache in f16, two to a word, the lower element in the lower half. Rows are a whole number of 8 elements.

// 4 and 8 consecutive elements as they lie in memory.
alias KvQuad = vec2<u32>;
alias KvUnit = vec4<u32>;

fn quad_values(quad: KvQuad) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(quad.x), unpack2x16float(quad.y));
}

// Elements 0 to 3 and 4 to 7.
fn unit_values(unit: KvUnit) -> mat2x4<f32> {
  return mat2x4<f32>(quad_values(unit.xy), quad_values(unit.zw));
}

// What f16 cannot hold becomes its largest number: packing beyond that is undefined.
fn quad_of(values: vec4<f32>) -> KvQuad {
  let held = clamp(values, vec4<f32>(-65504.0), vec4<f32>(65504.0));
  return vec2<u32>(pack2x16float(held.xy), pack2x16float(held.zw));
}
