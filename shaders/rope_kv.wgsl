// Rotary position embedding (Su et al. 2021) of the queries and keys of the step's rows; keys and values go into the layer's cache.
// A row of qkv holds HEADS queries, KV_HEADS keys and KV_HEADS values; the caches are [kv head][position < CONTEXT][HEAD_DIM].
// The first ROPE_DIMS of a head turn in pairs: neighbours (INTERLEAVED), or element i with element i + ROPE_DIMS / 2. The rest stays.
// turns[i] is pair i's turn per position in 2^-32 turns: rounded to half of that, a position p is off by p * 2^-33 turns at most,
// which is 1e-4 radians at 128 Ki positions. One invocation makes 4 consecutive elements.

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> turns: array<u32>;
@group(0) @binding(2) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> k: array<KvQuad>;
@group(0) @binding(4) var<storage, read_write> v: array<KvQuad>;
@group(0) @binding(5) var<storage, read> step: Step;

const QUADS: u32 = HEAD_DIM / 4u;

fn rotated(head: u32, element: u32, position: u32) -> f32 {
  let value = qkv[head + element];
  if (element >= ROPE_DIMS) {
    return value;
  }
  var pair = element / 2u;
  var first = element % 2u == 0u;
  var other = element ^ 1u;
  if (!INTERLEAVED) {
    first = element < ROPE_DIMS / 2u;
    pair = select(element - ROPE_DIMS / 2u, element, first);
    other = select(pair, pair + ROPE_DIMS / 2u, first);
  }
  let turn = ATTENTION_FACTOR * cos_sin(position * turns[pair]);
  let partner = qkv[head + other];
  return value * turn.x + select(partner, -partner, first) * turn.y;
}

fn rotated_quad(head: u32, element: u32, position: u32) -> vec4<f32> {
  return vec4<f32>(
    rotated(head, element, position),
    rotated(head, element + 1u, position),
    rotated(head, element + 2u, position),
    rotated(head, element + 3u, position),
  );
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let i = workgroup.x * 64u + index;
  let head = i / QUADS;
  let quad = i % QUADS;
  let row = workgroup.y * QKV_STRIDE;
  let position = step.position + workgroup.y;
  if (head < HEADS) {
    q[workgroup.y * (HEADS * QUADS) + i] = rotated_quad(row + Q_FIRST + head * HEAD_DIM, 4u * quad, position);
  } else if (head < HEADS + KV_HEADS && position < CONTEXT) {
    let kv_head = head - HEADS;
    k[(kv_head * CONTEXT + position) * QUADS + quad] = quad_of(rotated_quad(row + K_FIRST + kv_head * HEAD_DIM, 4u * quad, position));
  } else if (head < HEADS + 2u * KV_HEADS && position < CONTEXT) {
    let kv_head = head - HEADS - KV_HEADS;
    let at = row + V_FIRST + kv_head * HEAD_DIM + 4u * quad;
    v[(kv_head * CONTEXT + position) * QUADS + quad] = quad_of(vec4<f32>(qkv[at], qkv[at + 1u], qkv[at + 2u], qkv[at + 3u]));
  }
}
