// Where queries, keys and values go: HEADS queries, KV_HEADS keys and KV_HEADS values of HEAD_DIM elements stand in a row in this order.
// Queries and keys get rotary position embedding (Su et al. 2021); keys and values go into the layer's cache, [kv head][slot][HEAD_DIM],
// where position p of FIRST <= p < CONTEXT has the slot (p - FIRST) % CAPACITY.
// The first ROPE_DIMS of a head turn in pairs of neighbours, the rest stays. Heads made for the other layout, where element i turns with element
// i + ROPE_DIMS / 2, had their rows reordered when they were loaded: attention does not mind, as long as queries and keys agree.
// turns[i] is pair i's turn per position in 2^-32 turns: rounded to half of that, a position p is off by p * 2^-33 turns at most,
// which is 1e-4 radians at 128 Ki positions.

const HEAD_QUADS: u32 = HEAD_DIM / 4u;

fn rotated_pair(pair: vec2<f32>, first_element: u32, position: u32) -> vec2<f32> {
  if (first_element >= ROPE_DIMS) {
    return pair;
  }
  let turn = ATTENTION_FACTOR * cos_sin(position * turns[first_element / 2u]);
  return vec2<f32>(pair.x * turn.x - pair.y * turn.y, pair.x * turn.y + pair.y * turn.x);
}

fn rotated(quad: vec4<f32>, part: u32, position: u32) -> vec4<f32> {
  return vec4<f32>(rotated_pair(quad.xy, 4u * part, position), rotated_pair(quad.zw, 4u * part + 2u, position));
}

// Queries grow with the position in models that were trained so (Nakanishi 2025).
fn temperature(position: u32) -> f32 {
  if (TEMPERATURE > 0.0) {
    return 1.0 + TEMPERATURE * log(1.0 + f32(position / TEMPERATURE_POSITIONS));
  }
  return 1.0;
}
