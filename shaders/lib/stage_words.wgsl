// Keys are staged as they lie in the cache.

// Places that 8 elements of a key take.
const STAGED: u32 = 1u;

fn stage(unit: u32, at: u32) {
  scratch[at] = k[unit];
}

fn staged(at: u32) -> mat2x4<f32> {
  return unit_values(scratch[at]);
}
