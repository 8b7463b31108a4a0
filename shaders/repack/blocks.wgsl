// GGUF blocks to quads: one invocation brings a block of 4 rows. The type's own file says how its blocks are read:
//   quant(at, column)  the code of a column, as the kernels have it
//   head(at)           the f16 that the block has, or two of them, the second in the upper half
//   sub(at, i)         byte i of what the columns of the block share besides; there are SUBS
// where `at` is the byte offset of the block. SHIFT is added to every code: planes may be of a wider type than the blocks.

// Per block: HEAD_WORDS words of the heads of 4 rows, then SUBS words of a byte of each row.
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;

const LOW_WORDS: u32 = GROUP_COLUMNS * LOW_BITS / 32u;
// The high bits of a group fill one word.
const GROUP_WORDS: u32 = LOW_WORDS + min(HIGH_BITS, 1u);
const QUANT_WORDS: u32 = BLOCK_COLUMNS / GROUP_COLUMNS * GROUP_WORDS;

// `bits` bits, from bit `low` on, of as many columns as fill a word: byte j holds those of columns j, j + 4, … from its lowest bits up.
fn packed(at: u32, first_column: u32, low: u32, bits: u32) -> u32 {
  var word = 0u;
  for (var i = 0u; i < 32u / bits; i++) {
    let code = ((quant(at, first_column + i) + SHIFT) >> low) & ((1u << bits) - 1u);
    word |= code << (8u * (i % 4u) + bits * (i / 4u));
  }
  return word;
}

// Word i of a row's block in plane 0: groups of columns, each with the low bits of all its columns before the high ones.
fn quant_word(at: u32, i: u32) -> u32 {
  let first_column = GROUP_COLUMNS * (i / GROUP_WORDS);
  let of_group = i % GROUP_WORDS;
  if (of_group < LOW_WORDS) {
    return packed(at, first_column + 32u / LOW_BITS * of_group, 0u, LOW_BITS);
  }
  return packed(at, first_column, LOW_BITS, max(HIGH_BITS, 1u));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let here = place(workgroup, workgroups, index);
  if (4u * here.x >= chunk.rows) {
    return;
  }
  // Rows beyond the end have a scale of zero.
  var blocks = vec4<u32>(0u);
  var exists = vec4<bool>(false);
  var heads = vec4<u32>(0u);
  for (var r = 0u; r < 4u; r++) {
    let row = source_row(4u * here.x + r);
    exists[r] = row < chunk.rows;
    if (exists[r]) {
      blocks[r] = (row * BLOCKS + here.y) * BLOCK_BYTES;
      heads[r] = head(blocks[r]);
    }
  }
  let block = (chunk.first_quad + here.x * chunk.quad_step) * BLOCKS + here.y;
  for (var i = 0u; i < QUANT_WORDS; i++) {
    var words = vec4<u32>(0u);
    for (var r = 0u; r < 4u; r++) {
      if (exists[r]) {
        words[r] = quant_word(blocks[r], i);
      }
    }
    quants[block * QUANT_WORDS + i] = words;
  }
  let first = block * (HEAD_WORDS + SUBS);
  if (HEAD_WORDS == 2u) {
    scales[first] = heads.x | (heads.y << 16u);
    scales[first + 1u] = heads.z | (heads.w << 16u);
  }
  if (HEAD_WORDS == 4u) {
    for (var r = 0u; r < 4u; r++) {
      scales[first + r] = heads[r];
    }
  }
  for (var i = 0u; i < SUBS; i++) {
    var word = 0u;
    for (var r = 0u; r < 4u; r++) {
      if (exists[r]) {
        word |= (sub(blocks[r], i) & 0xffu) << (8u * r);
      }
    }
    scales[first + HEAD_WORDS + i] = word;
  }
}
