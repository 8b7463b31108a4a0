// What a matmul by rows adds up, and its inputs.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

// Of one quad of rows and 16 token rows.
struct Sums {
  s0: vec4<f32>,
  s1: vec4<f32>,
  s2: vec4<f32>,
  s3: vec4<f32>,
  s4: vec4<f32>,
  s5: vec4<f32>,
  s6: vec4<f32>,
  s7: vec4<f32>,
  s8: vec4<f32>,
  s9: vec4<f32>,
  s10: vec4<f32>,
  s11: vec4<f32>,
  s12: vec4<f32>,
  s13: vec4<f32>,
  s14: vec4<f32>,
  s15: vec4<f32>,
}

// A sum and four more products, one after the other, so that each is one fused operation where there are such.
fn summed(sum: vec4<f32>, w: mat4x4<f32>, x: vec4<f32>) -> vec4<f32> {
  return (((sum + w[0] * x.x) + w[1] * x.y) + w[2] * x.z) + w[3] * x.w;
}
