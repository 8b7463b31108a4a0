// An invocation of matmul_rows.wgsl has a quad of weight rows.

const QUADS_EACH: u32 = 1u;

alias Sum = vec4<f32>;
alias Weights = mat4x4<f32>;
alias OwnScales = Scales;
alias OwnQuants = Unit;

fn own_scales(quad: u32, block: u32) -> OwnScales {
  return block_scales(quad * BLOCKS + block);
}

fn own_quants(quad: u32, unit: u32) -> OwnQuants {
  return unit_quants(quad * UNITS + unit);
}

fn weights_lo(quants: OwnQuants, scales: OwnScales) -> Weights {
  return scaled(quants.lo, scales);
}

fn weights_hi(quants: OwnQuants, scales: OwnScales) -> Weights {
  return scaled(quants.hi, scales);
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

// Finishes four sums, the first of them sum `first`: even invocations have the first quad of rows of a pair, the odd ones beside them the second.
fn finish_four(index: u32, lane: u32, own: u32, first_token: u32, first: u32, s0: Sum, s1: Sum, s2: Sum, s3: Sum) {
  let pair = own / 2u;
  let other0 = quadSwapX(s1);
  let other1 = quadSwapX(s0);
  let other2 = quadSwapX(s3);
  let other3 = quadSwapX(s2);
  // No early return: the next sums are exchanged by all lanes together.
  if (index % 2u == 0u && 2u * pair < QUADS) {
    for (var i = 0u; i < 4u; i++) {
      let token = first_token + ((first + i) ^ (lane % LANES));
      if (token < step.rows) {
        let a = select(select(s0, s1, i == 1u), select(s2, s3, i == 3u), i >= 2u);
        let b = select(select(other0, other1, i == 1u), select(other2, other3, i == 3u), i >= 2u);
        _ = finish(token, pair, a, b);
      }
    }
  }
}
