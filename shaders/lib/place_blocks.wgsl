// Queries, keys and values find their places head by head: a block's scale depends on all of its numbers.

var<workgroup> placed: array<vec4<f32>, HEAD_QUADS>;

// The number of largest magnitude in a block, the first of equal ones; 0 for a block beyond the head.
fn extreme_of(block: u32) -> f32 {
  var extreme = 0.0;
  if (block < HEAD_QUADS / BLOCK_QUADS) {
    for (var i = 0u; i < BLOCK_QUADS; i++) {
      let quad = placed[block * BLOCK_QUADS + i];
      for (var c = 0u; c < 4u; c++) {
        if (abs(quad[c]) > abs(extreme)) {
          extreme = quad[c];
        }
      }
    }
  }
  return extreme;
}

fn inverse_of(scale: f32) -> f32 {
  if (scale == 0.0) {
    return 0.0;
  }
  return 1.0 / scale;
}

// What f16 cannot hold becomes its largest number.
fn held(scale: f32) -> f32 {
  return clamp(scale, -65504.0, 65504.0);
}

// A head whose quads are spread over a workgroup's first invocations; all of the workgroup come here.
fn place_head(token: u32, head: u32, part: u32, value: vec4<f32>) {
  let position = step.position + token;
  if (head < HEADS) {
    if (part < HEAD_QUADS) {
      q[(token * HEADS + head) * HEAD_QUADS + part] = temperature(position) * rotated(value, part, position);
    }
    return;
  }
  let is_key = head < HEADS + KV_HEADS;
  if (part < HEAD_QUADS) {
    placed[part] = value;
    if (is_key) {
      placed[part] = rotated(value, part, position);
    }
  }
  workgroupBarrier();
  if (part >= HEAD_QUADS || position >= CONTEXT) {
    return;
  }
  let block = part / BLOCK_QUADS;
  let kv_head = select(head - HEADS - KV_HEADS, head - HEADS, is_key);
  let first = (kv_head * CAPACITY + (position - FIRST) % CAPACITY) * HEAD_QUADS;
  let scale = block_scale(extreme_of(block));
  let inverse = inverse_of(scale);
  if (part % QUADS_PER_WORD == 0u) {
    var word = coded(inverse * placed[part]);
    if (QUADS_PER_WORD == 2u) {
      word |= coded(inverse * placed[part + QUADS_PER_WORD - 1u]) << 16u;
    }
    let at = (first + part) / QUADS_PER_WORD;
    if (is_key) {
      k[at] = word;
    } else {
      v[at] = word;
    }
  }
  if (part % (2u * BLOCK_QUADS) == 0u) {
    let scales = pack2x16float(vec2<f32>(held(scale), held(block_scale(extreme_of(block + 1u)))));
    let at = scale_word(first + part);
    if (is_key) {
      k[at] = scales;
    } else {
      v[at] = scales;
    }
  }
}
