// Products of one token with the matrices of the USED experts that were chosen for it; QUADS rows belong to each expert, and this shard
// holds EXPERTS of them from FIRST_EXPERT on. Nothing else of the weights is read.
// SUMMED: x has a row for each choice, and the products are added up. Otherwise every choice has workgroups of its own (workgroup.y), all read
// the same x, and finish gets the choice in place of the token.

fn in_shard(expert: u32) -> bool {
  return expert >= FIRST_EXPERT && expert - FIRST_EXPERT < EXPERTS;
}

fn kernel(index: u32, subgroup: u32, workgroup: vec3<u32>, workgroups: vec3<u32>) {
  let lane = index % GROUP;
  let pair = workgroup.x * (WORKGROUP / GROUP) + index / GROUP;
  let quad_a = 2u * pair;
  // An odd last quad is its own partner.
  let quad_b = min(quad_a + 1u, QUADS - 1u);
  var sums = Pair(vec4<f32>(0.0), vec4<f32>(0.0));
  if (SUMMED) {
    for (var choice = 0u; choice < USED; choice++) {
      let expert = routing[choice].x;
      if (pair < PAIRS && in_shard(expert)) {
        let first_quad = (expert - FIRST_EXPERT) * QUADS;
        let product = pair_product(first_quad + quad_a, first_quad + quad_b, choice * (K / 4u), lane);
        sums.a += product.a;
        sums.b += product.b;
      }
    }
  } else {
    let expert = routing[workgroup.y].x;
    if (!in_shard(expert)) {
      return;
    }
    if (pair < PAIRS) {
      let first_quad = (expert - FIRST_EXPERT) * QUADS;
      sums = pair_product(first_quad + quad_a, first_quad + quad_b, 0u, lane);
    }
  }
  let factor = norm_factor(index, subgroup);
  let a = factor * group_sum4(sums.a, index, subgroup);
  let b = factor * group_sum4(sums.b, index, subgroup);
  var carried = vec4<u32>(0u);
  if (lane == 0u && pair < PAIRS) {
    carried = finish(workgroup.y, pair, a, b);
  }
  close(workgroup.y, carried, index, workgroup.x);
}
