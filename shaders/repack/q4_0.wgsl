// GGUF Q4_0 to quads: blocks of 18 bytes become 4 units, their nibbles reordered, with the scales in a plane of their own.

@group(0) @binding(3) var<storage, read_write> scales: array<vec2<u32>>;

const BLOCK_BYTES: u32 = 18u;

// GGUF keeps column c of a block in the low nibble of byte c, column c + 16 in its high nibble.
fn unit_word(block_at: u32, unit: u32) -> u32 {
  let bytes_at = block_at + 2u + 8u * (unit & 1u);
  let shift = 4u * (unit / 2u);
  let columns_0_to_3 = (word_at(bytes_at) >> shift) & 0x0f0f0f0fu;
  let columns_4_to_7 = (word_at(bytes_at + 4u) >> shift) & 0x0f0f0f0fu;
  return columns_0_to_3 | (columns_4_to_7 << 4u);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let at = place(workgroup, workgroups, index);
  if (4u * at.x >= chunk.rows) {
    return;
  }
  var units = array<vec4<u32>, 4>();
  var heads = vec4<u32>(0u);
  for (var r = 0u; r < 4u; r++) {
    let row = source_row(4u * at.x + r);
    if (row < chunk.rows) {
      let block_at = (row * BLOCKS + at.y) * BLOCK_BYTES;
      heads[r] = half_at(block_at);
      for (var unit = 0u; unit < 4u; unit++) {
        units[unit][r] = unit_word(block_at, unit);
      }
    }
  }
  let block = (chunk.first_quad + at.x * chunk.quad_step) * BLOCKS + at.y;
  scales[block] = vec2<u32>(heads.x | (heads.y << 16u), heads.z | (heads.w << 16u));
  for (var unit = 0u; unit < 4u; unit++) {
    quants[4u * block + unit] = units[unit];
  }
}
