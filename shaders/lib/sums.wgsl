// What a matmul by rows adds up, and its inputs.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

// Of 16 token rows and the rows that an invocation has of the weights (lib/quads_*.wgsl).
struct Sums {
  s0: Sum,
  s1: Sum,
  s2: Sum,
  s3: Sum,
  s4: Sum,
  s5: Sum,
  s6: Sum,
  s7: Sum,
  s8: Sum,
  s9: Sum,
  s10: Sum,
  s11: Sum,
  s12: Sum,
  s13: Sum,
  s14: Sum,
  s15: Sum,
}
