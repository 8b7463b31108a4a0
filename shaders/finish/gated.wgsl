// A gated linear unit (Shazeer 2020): y = activation(gate) * up, times the weight of the choice in a mixture of experts. The matrix holds quads of gate and of up by turns.

@group(0) @binding(3) var<storage, read> step: Step;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

fn finish(token: u32, pair: u32, gate: vec4<f32>, up: vec4<f32>) -> vec4<u32> {
  y[token * Y_STRIDE + Y_FIRST + pair] = weight_of(token) * activated(gate) * up;
  return vec4<u32>(0u);
}

fn close(token: u32, carried: vec4<u32>, index: u32, workgroup: u32) {}
