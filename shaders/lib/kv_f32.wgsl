// A key/value cache in f32, with the functions of kv_f16.wgsl.

alias KvQuad = vec4<f32>;
struct KvUnit {
  lo: vec4<f32>,
  hi: vec4<f32>,
}

fn quad_values(quad: KvQuad) -> vec4<f32> {
  return quad;
}

fn unit_values(unit: KvUnit) -> mat2x4<f32> {
  return mat2x4<f32>(unit.lo, unit.hi);
}

fn quad_of(values: vec4<f32>) -> KvQuad {
  return values;
}
