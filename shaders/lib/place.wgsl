// Queries, keys and values find their places quad by quad.

fn place(token: u32, quad: u32, value: vec4<f32>) {
  let head = quad / HEAD_QUADS;
  let part = quad % HEAD_QUADS;
  let position = step.position + token;
  let slot = (position - FIRST) % CAPACITY;
  if (head < HEADS) {
    q[token * (HEADS * HEAD_QUADS) + quad] = temperature(position) * rotated(value, part, position);
  } else if (head < HEADS + KV_HEADS && position < CONTEXT) {
    k[((head - HEADS) * CAPACITY + slot) * HEAD_QUADS + part] = quad_of(rotated(value, part, position));
  } else if (head < HEADS + 2u * KV_HEADS && position < CONTEXT) {
    v[((head - HEADS - KV_HEADS) * CAPACITY + slot) * HEAD_QUADS + part] = quad_of(value);
  }
}

// A head whose quads are spread over a workgroup's first invocations.
fn place_head(token: u32, head: u32, part: u32, value: vec4<f32>) {
  if (part < HEAD_QUADS) {
    place(token, head * HEAD_QUADS + part, value);
  }
}
