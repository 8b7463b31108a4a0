// Where queries, keys and values go: HEADS queries, KV_HEADS keys and KV_HEADS values of HEAD_DIM elements stand in a row in this order.
// Queries and keys get rotary position embedding (Su et al. 2021); keys and values go into the layer's cache, [kv head][slot][HEAD_DIM],
// where position p of FIRST <= p < CONTEXT has the slot (p - FIRST) % CAPACITY.
// The first ROPE_DIMS of a head turn in pairs of neighbours, the rest stays. Heads made for the other layout, where element i turns with element
// i + ROPE_DIMS / 2, had their rows reordered when they were loaded: attention does not mind, as long as queries and keys agree.
// turns[i] has what pairs 2 i and 2 i + 1 turn per position, in 2^-32 turns: rounded to half of that, a position p is off by p * 2^-33 turns at most,
// which is 1e-4 radians at 128 Ki positions.

const HEAD_QUADS: u32 = HEAD_DIM / 4u;

fn rotated_pair(pair: vec2<f32>, phase: u32) -> vec2<f32> {
  let turn = ATTENTION_FACTOR * cos_sin(phase);
  return vec2<f32>(pair.x * turn.x - pair.y * turn.y, pair.x * turn.y + pair.y * turn.x);
}

fn rotated(quad: vec4<f32>, part: u32, position: u32) -> vec4<f32> {
  if (4u * part >= ROPE_DIMS) {
    return quad;
  }
  let phases = position * turns[part];
  let first = rotated_pair(quad.xy, phases.x);
  if (4u * part + 2u >= ROPE_DIMS) {
    return vec4<f32>(first, quad.zw);
  }
  return vec4<f32>(first, rotated_pair(quad.zw, phases.y));
}

// Queries grow with the position in models that were trained so (Nakanishi 2025).
fn temperature(position: u32) -> f32 {
  if (TEMPERATURE > 0.0) {
    return 1.0 + TEMPERATURE * log(1.0 + f32(position / TEMPERATURE_POSITIONS));
  }
  return 1.0;
}
