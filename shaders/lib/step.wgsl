// What a step has to know of its sequence. It lives on the GPU, so that steps can be queued ahead of their results.
struct Step {
  // Position of row 0 in the sequence.
  position: u32,
  // Token rows of this step.
  rows: u32,
  // Tokens drawn so far in this answer: the random number generator's counter.
  drawn: u32,
  // The token drawn last.
  token: u32,
}
