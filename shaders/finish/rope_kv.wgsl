// The products are queries, keys and values, quad 0 of this matrix quad Y_FIRST of them: they are turned and put where lib/heads.wgsl says.

@group(0) @binding(3) var<storage, read> step: Step;
@group(0) @binding(4) var<storage, read> turns: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> k: array<KvQuad>;
@group(0) @binding(7) var<storage, read_write> v: array<KvQuad>;

fn finish(token: u32, pair: u32, a: vec4<f32>, b: vec4<f32>) -> vec4<u32> {
  let quad = Y_FIRST + 2u * pair;
  place(token, quad, outcome(quad, a));
  if (2u * pair + 1u < QUADS) {
    place(token, quad + 1u, outcome(quad + 1u, b));
  }
  return vec4<u32>(0u);
}

fn close(token: u32, carried: vec4<u32>, index: u32, workgroup: u32) {}
