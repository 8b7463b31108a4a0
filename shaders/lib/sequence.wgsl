// All that changes from step to step of one sequence. The step comes first: kernels that need no more bind the same buffer as a Step.

// Remembered tokens.
const HISTORY: u32 = 64u;

struct Sequence {
  step: Step,
  sampling: Sampling,
  // Tokens ever appended; token number n is at n % HISTORY.
  count: u32,
  history: array<u32, HISTORY>,
  // One bit for each token of the vocabulary: it is in the history.
  seen: array<u32>,
}
