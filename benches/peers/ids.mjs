// The prompt that every competitor reads: the ids of `kinglet bench` (src/cli/bench.rs), which look random and are always the same.

/** `count` ids below `vocab`, by Marsaglia's xorshift (2003). */
export function benchIds(count, vocab) {
  let state = 0x2545f491;
  return Array.from({ length: count }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % vocab;
  });
}
