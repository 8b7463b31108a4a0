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

// A sum and four more products, one after the other, so that each is one fused operation where there are such. Row by row, so that even a simple
// compiler keeps a row's sum in a register meanwhile.
fn summed(sum: vec4<f32>, w: mat4x4<f32>, x: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(
    (((sum.x + x.x * w[0].x) + x.y * w[1].x) + x.z * w[2].x) + x.w * w[3].x,
    (((sum.y + x.x * w[0].y) + x.y * w[1].y) + x.z * w[2].y) + x.w * w[3].y,
    (((sum.z + x.x * w[0].z) + x.y * w[1].z) + x.z * w[2].z) + x.w * w[3].z,
    (((sum.w + x.x * w[0].w) + x.y * w[1].w) + x.z * w[2].w) + x.w * w[3].w,
  );
}
