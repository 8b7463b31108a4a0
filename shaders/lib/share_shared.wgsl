// What the 16 invocations of 4 rows of attention_prefill.wgsl share, through workgroup memory alone.

// The queries of 4 rows from `at` on, a column a row.
fn shared_queries(at: u32, j: u32) -> mat4x4<f32> {
  return mat4x4<f32>(q_tile[at], q_tile[at + 1u], q_tile[at + 2u], q_tile[at + 3u]);
}

// The weights of 4 keys from `at` on, a column a key.
fn shared_weights(at: u32, j: u32) -> mat4x4<f32> {
  return mat4x4<f32>(scratch[at], scratch[at + 1u], scratch[at + 2u], scratch[at + 3u]);
}

// The largest of each row. All invocations of the workgroup come here.
fn shared_max(own: vec4<f32>, i: u32, j: u32) -> vec4<f32> {
  scratch[i * TILE_KEYS + j] = own;
  workgroupBarrier();
  var all = own;
  for (var lane = 0u; lane < LANES; lane++) {
    all = max(all, scratch[i * TILE_KEYS + lane]);
  }
  workgroupBarrier();
  return all;
}

fn shared_sum(own: vec4<f32>, i: u32, j: u32) -> vec4<f32> {
  scratch[i * TILE_KEYS + j] = own;
  workgroupBarrier();
  var all = vec4<f32>(0.0);
  for (var lane = 0u; lane < LANES; lane++) {
    all += scratch[i * TILE_KEYS + lane];
  }
  return all;
}
