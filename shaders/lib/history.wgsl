// The last tokens of the sequence.

const HISTORY: u32 = 64u;

struct History {
  // Tokens ever appended; token number n is at n % HISTORY.
  count: u32,
  ids: array<u32, HISTORY>,
}
