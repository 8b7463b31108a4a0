// Sums dealt out among 4 invocations side by side: beside the functions of reduce_shared.wgsl, through the same memory.

// The sum over the 4 of component number (index % 4).
fn group_deal4(value: vec4<f32>, index: u32) -> f32 {
  let first = index - index % 4u;
  let c = index % 4u;
  reduce_slots[index] = value;
  workgroupBarrier();
  let total = (reduce_slots[first][c] + reduce_slots[first + 1u][c]) + (reduce_slots[first + 2u][c] + reduce_slots[first + 3u][c]);
  workgroupBarrier();
  return total;
}
