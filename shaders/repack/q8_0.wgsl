// GGUF Q8_0 to quads: blocks of 34 bytes become 4 units of two words a row, with the scales in a plane of their own.

@group(0) @binding(3) var<storage, read_write> scales: array<vec2<u32>>;

const BLOCK_BYTES: u32 = 34u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let at = place(workgroup, workgroups, index);
  if (4u * at.x >= chunk.rows) {
    return;
  }
  var words = array<vec4<u32>, 8>();
  var heads = vec4<u32>(0u);
  for (var r = 0u; r < 4u; r++) {
    let row = source_row(4u * at.x + r);
    if (row < chunk.rows) {
      let block_at = (row * BLOCKS + at.y) * BLOCK_BYTES;
      heads[r] = half_at(block_at);
      for (var i = 0u; i < 8u; i++) {
        words[i][r] = word_at(block_at + 2u + 4u * i);
      }
    }
  }
  let block = (chunk.first_quad + at.x * chunk.quad_step) * BLOCKS + at.y;
  scales[block] = vec2<u32>(heads.x | (heads.y << 16u), heads.z | (heads.w << 16u));
  for (var i = 0u; i < 8u; i++) {
    quants[8u * block + i] = words[i];
  }
}
