// The products go to a row of y, from quad Y_FIRST on. ACCUMULATE adds them to what is there: the residual stream.
//
// Every finish fragment offers two functions. `finish` takes two quads of one token row's products; what it returns is carried to `close`,
// which a matvec's whole workgroup calls once for each token row (a matmul does not), with zeros from invocations that finished nothing.

@group(0) @binding(3) var<storage, read> step: Step;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

fn store(token: u32, quad: u32, value: vec4<f32>) {
  let at = token * Y_STRIDE + quad;
  if (ACCUMULATE) {
    y[at] += outcome(quad, value);
  } else {
    y[at] = outcome(quad, value);
  }
}

fn finish(token: u32, pair: u32, a: vec4<f32>, b: vec4<f32>) -> vec4<u32> {
  let quad = Y_FIRST + 2u * pair;
  store(token, quad, a);
  if (2u * pair + 1u < QUADS) {
    store(token, quad + 1u, b);
  }
  return vec4<u32>(0u);
}

fn close(token: u32, carried: vec4<u32>, index: u32, workgroup: u32) {}
