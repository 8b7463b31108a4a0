// What 8 invocations side by side share in attention_lanes.wgsl: lane l of them loads the queries of rows l and 8 + l, and half of its quad's weights.

// Adds the products with elements 4 quad to 4 quad + 3 of two keys; `rows` are where this invocation's queries begin.
fn add_scores(scores: ptr<function, Scores>, one: vec4<f32>, other: vec4<f32>, rows: vec4<u32>, quad: u32) {
  let x = q[rows.x + quad];
  let a = four(x);
  (*scores).a0 = scores_of((*scores).a0, a, one);
  (*scores).b0 = scores_of((*scores).b0, a, other);
  let b = four(subgroupShuffleXor(x, 4u));
  (*scores).a1 = scores_of((*scores).a1, b, one);
  (*scores).b1 = scores_of((*scores).b1, b, other);
  let z = q[rows.y + quad];
  let d = four(z);
  (*scores).a2 = scores_of((*scores).a2, d, one);
  (*scores).b2 = scores_of((*scores).b2, d, other);
  let e = four(subgroupShuffleXor(z, 4u));
  (*scores).a3 = scores_of((*scores).a3, e, one);
  (*scores).b3 = scores_of((*scores).b3, e, other);
}

// The second quad's rows of 8 are first in it.
fn ordered(scores: Scores, j: u32) -> Scores {
  let second = j % 8u >= 4u;
  return Scores(
    select(scores.a0, scores.a1, second),
    select(scores.a1, scores.a0, second),
    select(scores.a2, scores.a3, second),
    select(scores.a3, scores.a2, second),
    select(scores.b0, scores.b1, second),
    select(scores.b1, scores.b0, second),
    select(scores.b2, scores.b3, second),
    select(scores.b3, scores.b2, second),
  );
}

fn largest_beside(own: vec4<f32>) -> vec4<f32> {
  return max(own, subgroupShuffleXor(own, 4u));
}

fn sum_beside(own: vec4<f32>) -> vec4<f32> {
  return own + subgroupShuffleXor(own, 4u);
}

// Of four keys, the one whose values an invocation loads. The others come from its neighbours: those of the key with another last bit first.
fn first_of_four(j: u32) -> u32 {
  return (j % 4u) ^ (j / 4u % 2u * 2u);
}

// Weights of 4 rows, a column a key, from an invocation's own on.
fn four_weights(first: u32, own: u32) -> mat4x4<f32> {
  let a = weight(first + own);
  let b = weight(first + (own ^ 1u));
  return mat4x4<f32>(a, b, subgroupShuffleXor(a, 4u), subgroupShuffleXor(b, 4u));
}
