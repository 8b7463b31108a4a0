// What rows of a prefill have of the segments of the cache so far: [row][head], the largest score and the sum of weights.

@group(0) @binding(5) var<storage, read_write> carried_rows: array<vec2<f32>>;

// Of 4 rows; those beyond the end are as the last.
fn carried(first_row: u32, head: u32) -> array<vec4<f32>, 2> {
  let rows = min(vec4<u32>(first_row) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(step.rows - 1u));
  let at = rows * HEADS + head;
  let a = carried_rows[at.x];
  let b = carried_rows[at.y];
  let c = carried_rows[at.z];
  let d = carried_rows[at.w];
  return array<vec4<f32>, 2>(vec4<f32>(a.x, b.x, c.x, d.x), vec4<f32>(a.y, b.y, c.y, d.y));
}

fn carry(first_row: u32, head: u32, highest: vec4<f32>, totals: vec4<f32>) {
  for (var i = 0u; i < 4u; i++) {
    if (first_row + i < step.rows) {
      carried_rows[(first_row + i) * HEADS + head] = vec2<f32>(highest[i], totals[i]);
    }
  }
}
