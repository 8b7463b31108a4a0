// The functions of share_shared.wgsl with subgroup operations: of 4 invocations side by side each reads a quarter, and hands it to the others.

fn shared_queries(at: u32, j: u32) -> mat4x4<f32> {
  let own = q_tile[at + j % 4u];
  return mat4x4<f32>(quadBroadcast(own, 0u), quadBroadcast(own, 1u), quadBroadcast(own, 2u), quadBroadcast(own, 3u));
}

fn shared_weights(at: u32, j: u32) -> mat4x4<f32> {
  let own = scratch[at + j % 4u];
  return mat4x4<f32>(quadBroadcast(own, 0u), quadBroadcast(own, 1u), quadBroadcast(own, 2u), quadBroadcast(own, 3u));
}

fn shared_max(own: vec4<f32>, i: u32, j: u32) -> vec4<f32> {
  let two = max(own, quadSwapX(own));
  let four = max(two, quadSwapY(two));
  let first = i * TILE_KEYS;
  if (j % 4u == 0u) {
    scratch[first + j / 4u] = four;
  }
  workgroupBarrier();
  let all = max(max(scratch[first], scratch[first + 1u]), max(scratch[first + 2u], scratch[first + 3u]));
  workgroupBarrier();
  return all;
}

fn shared_sum(own: vec4<f32>, i: u32, j: u32) -> vec4<f32> {
  let two = own + quadSwapX(own);
  let four = two + quadSwapY(two);
  let first = i * TILE_KEYS;
  if (j % 4u == 0u) {
    scratch[first + j / 4u] = four;
  }
  workgroupBarrier();
  return (scratch[first] + scratch[first + 1u]) + (scratch[first + 2u] + scratch[first + 3u]);
}
