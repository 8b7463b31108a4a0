// A norm whose output joins the residual stream, the row of which is also left times the next norm's weight, with its sum of squares behind it.
@group(0) @binding(3) var<storage, read> next_weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> weighted: array<vec4<f32>>;

fn prepare(quad: u32, value: vec4<f32>) -> vec4<f32> {
  weighted[quad] = value * next_weight[quad];
  return value * value;
}

fn hand_over(squares: vec4<f32>, index: u32, subgroup: u32) {
  let sum = group_sum4(squares, index, subgroup);
  if (index == 0u) {
    weighted[K / 4u] = sum;
  }
}
