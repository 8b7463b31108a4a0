// The function of deal_shared.wgsl with subgroup operations: no subgroup is smaller than 4. Two invocations that exchange each keep what the other
// needs no more, so that 4 sums take 3 exchanges.

fn group_deal4(value: vec4<f32>, index: u32) -> f32 {
  let odd = index % 2u == 1u;
  let two = select(value.xz, value.yw, odd) + subgroupShuffleXor(select(value.yw, value.xz, odd), 1u);
  let upper = index % 4u >= 2u;
  return select(two.x, two.y, upper) + subgroupShuffleXor(select(two.y, two.x, upper), 2u);
}
