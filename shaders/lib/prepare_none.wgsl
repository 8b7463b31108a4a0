// A norm whose output is all that is wanted of it.
fn prepare(quad: u32, value: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(0.0);
}

fn hand_over(squares: vec4<f32>, index: u32, subgroup: u32) {}
