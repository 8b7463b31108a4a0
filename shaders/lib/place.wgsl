// Queries, keys and values find their places quad by quad.

fn place(token: u32, quad: u32, value: vec4<f32>) {
  let head = quad / HEAD_QUADS;
  let part = quad % HEAD_QUADS;
  let position = step.position + token;
  let slot = (position - FIRST) % CAPACITY;
  var placed = value;
  if (head < HEADS + KV_HEADS) {
    placed = rotated(value, part, position);
  }
  if (head < HEADS) {
    q[token * (HEADS * HEAD_QUADS) + quad] = temperature(position) * placed;
  } else if (head < HEADS + 2u * KV_HEADS && position < CONTEXT) {
    let kept = quad_of(placed);
    let row = ((head - HEADS) % KV_HEADS * CAPACITY + slot) * HEAD_QUADS + part;
    if (head < HEADS + KV_HEADS) {
      k[row] = kept;
    } else {
      v[row] = kept;
    }
  }
}

// A head whose quads are spread over a workgroup's first invocations.
fn place_head(token: u32, head: u32, part: u32, value: vec4<f32>) {
  if (part < HEAD_QUADS) {
    place(token, head * HEAD_QUADS + part, value);
  }
}
