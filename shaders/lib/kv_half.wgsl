// Reading a key/value cache in f16 (kv_f16.wgsl) where the device has f16: as numbers, not as words to unpack. f16 becomes f32 exactly, so
// results are the same bits. Writing stays with kv_f16.wgsl: how a conversion to f16 rounds is the device's choice.

alias KvQuad = vec4<f16>;
struct KvUnit {
  lo: vec4<f16>,
  hi: vec4<f16>,
}

fn quad_values(quad: KvQuad) -> vec4<f32> {
  return vec4<f32>(quad);
}

// Elements 0 to 3 and 4 to 7.
fn unit_values(unit: KvUnit) -> mat2x4<f32> {
  return mat2x4<f32>(vec4<f32>(unit.lo), vec4<f32>(unit.hi));
}
