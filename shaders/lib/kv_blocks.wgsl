// A key/value cache in blocks of 32 elements with a scale each: the codes of all rows, and from word SCALES on the scales of all rows, two f16
// a word, each row beginning with a word of its own. What a code means is the type's (lib/kv_q8_0.wgsl, lib/kv_q4_0.wgsl).

alias KvQuad = u32;
alias KvUnit = u32;

const BLOCK_QUADS: u32 = 8u;
const ROW_QUADS: u32 = HEAD_DIM / 4u;
const ROW_SCALES: u32 = (HEAD_DIM + 63u) / 64u;

// Where the scale of a quad's block is.
fn scale_word(quad: u32) -> u32 {
  return SCALES + quad / ROW_QUADS * ROW_SCALES + quad % ROW_QUADS / (2u * BLOCK_QUADS);
}

// Of the two in that word.
fn scale_of(word: u32, quad: u32) -> f32 {
  let scales = unpack2x16float(word);
  return select(scales.x, scales.y, (quad % ROW_QUADS / BLOCK_QUADS) % 2u == 1u);
}
