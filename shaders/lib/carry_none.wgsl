// A cache of one segment: nothing is carried.

fn carried(first_row: u32, head: u32) -> array<vec4<f32>, 2> {
  return array<vec4<f32>, 2>(vec4<f32>(0.0), vec4<f32>(0.0));
}

fn carry(first_row: u32, head: u32, highest: vec4<f32>, totals: vec4<f32>) {}
