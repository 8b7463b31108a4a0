// What 4 invocations side by side share in attention_lanes.wgsl, with the functions of attend_8.wgsl: lane l of them loads the queries of rows l, 4 + l,
// 8 + l and 12 + l.

fn add_scores(scores: ptr<function, Scores>, one: vec4<f32>, other: vec4<f32>, rows: vec4<u32>, quad: u32) {
  let a = four(q[rows.x + quad]);
  (*scores).a0 = scores_of((*scores).a0, a, one);
  (*scores).b0 = scores_of((*scores).b0, a, other);
  let b = four(q[rows.y + quad]);
  (*scores).a1 = scores_of((*scores).a1, b, one);
  (*scores).b1 = scores_of((*scores).b1, b, other);
  let d = four(q[rows.z + quad]);
  (*scores).a2 = scores_of((*scores).a2, d, one);
  (*scores).b2 = scores_of((*scores).b2, d, other);
  let e = four(q[rows.w + quad]);
  (*scores).a3 = scores_of((*scores).a3, e, one);
  (*scores).b3 = scores_of((*scores).b3, e, other);
}

fn ordered(scores: Scores, j: u32) -> Scores {
  return scores;
}

fn largest_beside(own: vec4<f32>) -> vec4<f32> {
  return own;
}

fn sum_beside(own: vec4<f32>) -> vec4<f32> {
  return own;
}

fn first_of_four(j: u32) -> u32 {
  return j % 4u;
}

fn four_weights(first: u32, own: u32) -> mat4x4<f32> {
  return mat4x4<f32>(weight(first + own), weight(first + (own ^ 1u)), weight(first + (own ^ 2u)), weight(first + (own ^ 3u)));
}
