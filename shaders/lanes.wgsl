// Whether invocations side by side are lanes side by side, as kernels with subgroup operations take for granted and WGSL does not promise: counts
// those that are not.

@group(0) @binding(0) var<storage, read_write> astray: atomic<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_size) size: u32,
) {
  let width = min(size, WORKGROUP);
  // The widest exchange; 4 where the last subgroup is not whole.
  let far = select(min(4u, width / 2u), width / 2u, WORKGROUP % width == 0u && countOneBits(width) == 1u);
  let neighbours = vec4<u32>(
    subgroupShuffleXor(index, 1u) ^ 1u,
    subgroupShuffleXor(index, far) ^ far,
    quadSwapX(index) ^ 1u,
    quadSwapDiagonal(index) ^ 3u,
  );
  if (lane != index % width || any(neighbours != vec4<u32>(index))) {
    atomicAdd(&astray, 1u);
  }
}
