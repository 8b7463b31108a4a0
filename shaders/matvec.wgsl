// W x for one vector: (ROWS, K) times (K). What becomes of the products is up to the finish fragment.

fn kernel(index: u32, subgroup: u32, workgroup: vec3<u32>, workgroups: vec3<u32>) {
  let lane = index % GROUP;
  let group = workgroup.y * workgroups.x + workgroup.x;
  let pair = group * (WORKGROUP / GROUP) + index / GROUP;
  var sums = Pair(vec4<f32>(0.0), vec4<f32>(0.0));
  if (pair < PAIRS) {
    // An odd last quad is its own partner.
    sums = pair_product(2u * pair, min(2u * pair + 1u, QUADS - 1u), 0u, lane);
  }
  let factor = norm_factor(index, subgroup);
  let a = factor * group_sum4(sums.a, index, subgroup);
  let b = factor * group_sum4(sums.b, index, subgroup);
  var carried = vec4<u32>(0u);
  if (lane == 0u && pair < PAIRS) {
    carried = finish(0u, pair, a, b);
  }
  close(0u, carried, index, group);
}
