// Reading a key/value cache in f16 (kv_f16.wgsl) where the device has f16: as numbers, not as words to unpack. f16 becomes f32 exactly, so
// results are the same bits. Writing stays with kv_f16.wgsl: how a conversion to f16 rounds is the device's choice.

alias KvQuad = vec4<f16>;

fn quad_values(quad: KvQuad) -> vec4<f32> {
  return vec4<f32>(quad);
}
