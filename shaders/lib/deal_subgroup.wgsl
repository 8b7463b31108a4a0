// The function of deal_shared.wgsl with subgroup operations. Two invocations that exchange each keep what the other needs no more, so that
// 4 sums take 3 exchanges.

fn group_deal4(value: vec4<f32>, index: u32, subgroup: u32) -> f32 {
  if (subgroup >= GROUP) {
    var all = value;
    for (var distance = 4u; distance < GROUP; distance <<= 1u) {
      all += subgroupShuffleXor(all, distance);
    }
    let odd = index % 2u == 1u;
    let two = select(all.xz, all.yw, odd) + subgroupShuffleXor(select(all.yw, all.xz, odd), 1u);
    let upper = index % 4u >= 2u;
    return select(two.x, two.y, upper) + subgroupShuffleXor(select(two.y, two.x, upper), 2u);
  }
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
