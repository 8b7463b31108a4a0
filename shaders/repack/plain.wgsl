// F32, F16 and BF16 to quads: 8 columns of 4 rows become WORDS_PER_UNIT vec4, the words of a row side by side with those of its neighbours.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let at = place(workgroup, workgroups, index);
  if (4u * at.x >= chunk.rows) {
    return;
  }
  let block = (chunk.first_quad + at.x * chunk.quad_step) * BLOCKS + at.y;
  for (var i = 0u; i < WORDS_PER_UNIT; i++) {
    var words = vec4<u32>(0u);
    for (var r = 0u; r < 4u; r++) {
      let row = source_row(4u * at.x + r);
      if (row < chunk.rows) {
        words[r] = staged[(row * BLOCKS + at.y) * WORDS_PER_UNIT + i];
      }
    }
    quants[block * WORDS_PER_UNIT + i] = words;
  }
}
