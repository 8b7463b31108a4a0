// An invocation of matmul_rows.wgsl has two quads of weight rows, side by side: half as many inputs are loaded and passed for a product, but there are
// twice as many sums to keep. With the functions of quads_1.wgsl.

const QUADS_EACH: u32 = 2u;

struct Sum {
  a: vec4<f32>,
  b: vec4<f32>,
}

struct Weights {
  a: mat4x4<f32>,
  b: mat4x4<f32>,
}

struct OwnScales {
  a: Scales,
  b: Scales,
}

struct OwnQuants {
  a: Unit,
  b: Unit,
}

fn next_quad(quad: u32) -> u32 {
  return min(quad + 1u, QUADS - 1u);
}

fn own_scales(quad: u32, block: u32) -> OwnScales {
  return OwnScales(block_scales(quad * BLOCKS + block), block_scales(next_quad(quad) * BLOCKS + block));
}

fn own_quants(quad: u32, unit: u32) -> OwnQuants {
  return OwnQuants(unit_quants(quad * UNITS + unit), unit_quants(next_quad(quad) * UNITS + unit));
}

fn weights_lo(quants: OwnQuants, scales: OwnScales) -> Weights {
  return Weights(scaled(quants.a.lo, scales.a), scaled(quants.b.lo, scales.b));
}

fn weights_hi(quants: OwnQuants, scales: OwnScales) -> Weights {
  return Weights(scaled(quants.a.hi, scales.a), scaled(quants.b.hi, scales.b));
}

// A sum and four more products, one after the other, so that each is one fused operation where there are such. Row by row, so that even a simple
// compiler keeps a row's sum in a register meanwhile.
fn summed_quad(sum: vec4<f32>, w: mat4x4<f32>, x: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(
    (((sum.x + x.x * w[0].x) + x.y * w[1].x) + x.z * w[2].x) + x.w * w[3].x,
    (((sum.y + x.x * w[0].y) + x.y * w[1].y) + x.z * w[2].y) + x.w * w[3].y,
    (((sum.z + x.x * w[0].z) + x.y * w[1].z) + x.z * w[2].z) + x.w * w[3].z,
    (((sum.w + x.x * w[0].w) + x.y * w[1].w) + x.z * w[2].w) + x.w * w[3].w,
  );
}

fn summed(sum: Sum, w: Weights, x: vec4<f32>) -> Sum {
  return Sum(summed_quad(sum.a, w.a, x), summed_quad(sum.b, w.b, x));
}

// Finishes four sums, the first of them sum `first`, of the pair of quads that is this invocation's own.
fn finish_four(index: u32, lane: u32, own: u32, first_token: u32, first: u32, s0: Sum, s1: Sum, s2: Sum, s3: Sum) {
  if (2u * own < QUADS) {
    for (var i = 0u; i < 4u; i++) {
      let token = first_token + ((first + i) ^ (lane % LANES));
      if (token < step.rows) {
        let a = select(select(s0.a, s1.a, i == 1u), select(s2.a, s3.a, i == 3u), i >= 2u);
        let b = select(select(s0.b, s1.b, i == 1u), select(s2.b, s3.b, i == 3u), i >= 2u);
        _ = finish(token, own, a, b);
      }
    }
  }
}
