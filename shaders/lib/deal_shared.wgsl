// Sums dealt out: beside the functions of reduce_shared.wgsl, through the same memory, for a GROUP of 4 or more.

// The sum over the group of component number (index % 4).
fn group_deal4(value: vec4<f32>, index: u32, subgroup: u32) -> f32 {
  let first = index - index % GROUP;
  reduce_slots[index] = value;
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < GROUP; i++) {
    total += reduce_slots[first + i][index % 4u];
  }
  workgroupBarrier();
  return total;
}
