// One head of one token row of queries, keys and values, for models that do something to them before RoPE: clamping (MPT), or a norm of queries
// and keys, of each head (NORM_HEAD: Qwen3, Gemma 3; Henry et al. 2020) or of all heads together (NORM_ALL: OLMo 2).
// Norm weights are read at WEIGHT_STRIDE quads a head; a norm is an RMSNorm, or with CENTER a LayerNorm. Then they are placed as
// lib/heads.wgsl says.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> turns: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> q_weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> k_weight: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> k: array<KvQuad>;
@group(0) @binding(7) var<storage, read_write> v: array<KvQuad>;

const ALL_QUADS: u32 = (HEADS + 2u * KV_HEADS) * HEAD_QUADS;

fn clamped(at: u32) -> vec4<f32> {
  if (CLAMP > 0.0) {
    return clamp(x[at], vec4<f32>(-CLAMP), vec4<f32>(CLAMP));
  }
  return x[at];
}

fn kernel(index: u32, subgroup: u32, workgroup: vec3<u32>, workgroups: vec3<u32>) {
  let token = workgroup.y;
  let head = workgroup.x;
  let quad = head * HEAD_QUADS + min(index, HEAD_QUADS - 1u);
  var value = clamped(token * ALL_QUADS + quad);
  if (NORM_HEAD || NORM_ALL) {
    // All heads of queries, or of keys, or this one alone.
    let is_query = head < HEADS;
    let group = select(vec2<u32>(HEADS, KV_HEADS), vec2<u32>(0u, HEADS), is_query);
    let first = select(head, group.x, NORM_ALL) * HEAD_QUADS;
    let count = select(1u, group.y, NORM_ALL) * HEAD_QUADS;
    var mean = 0.0;
    if (CENTER) {
      var sum = vec4<f32>(0.0);
      for (var i = index; i < count; i += WORKGROUP) {
        sum += clamped(token * ALL_QUADS + first + i);
      }
      mean = group_sum(dot(sum, vec4<f32>(1.0)), index, subgroup) / f32(4u * count);
    }
    var squares = vec4<f32>(0.0);
    for (var i = index; i < count; i += WORKGROUP) {
      let centered = clamped(token * ALL_QUADS + first + i) - mean;
      squares += centered * centered;
    }
    let variance = group_sum(dot(squares, vec4<f32>(1.0)), index, subgroup) / f32(4u * count);
    let factor = inverseSqrt(variance + EPSILON);
    let part = quad - head * HEAD_QUADS;
    if (is_query) {
      value = (value - mean) * factor * q_weight[head * WEIGHT_STRIDE + part];
    } else if (head < HEADS + KV_HEADS) {
      value = (value - mean) * factor * k_weight[(head - HEADS) * WEIGHT_STRIDE + part];
    }
  }
  place_head(token, head, index, value);
}
