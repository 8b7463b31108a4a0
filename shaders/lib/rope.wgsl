// Sine and cosine of an angle in turns: `phase` / 2^32 of a full turn, so that whole turns vanish by themselves in u32 arithmetic.
// WGSL's own sin and cos promise little beyond small angles; these are right to 1e-6 everywhere.

const RADIANS: f32 = 1.4629180792671596e-9; // 2 pi / 2^32

// (cos, sin). The nearest quarter turn is split off; Taylor's series of what is left, at most pi / 4, end below 3e-9.
fn cos_sin(phase: u32) -> vec2<f32> {
  let quarter = (phase + 0x20000000u) >> 30u;
  let x = f32(bitcast<i32>(phase - (quarter << 30u))) * RADIANS;
  let xx = x * x;
  let s = x + x * xx * (-1.0 / 6.0 + xx * (1.0 / 120.0 + xx * (-1.0 / 5040.0 + xx * (1.0 / 362880.0))));
  let c = 1.0 + xx * (-0.5 + xx * (1.0 / 24.0 + xx * (-1.0 / 720.0 + xx * (1.0 / 40320.0 + xx * (-1.0 / 3628800.0)))));
  var turned = vec2<f32>(c, s);
  if ((quarter & 1u) == 1u) {
    turned = vec2<f32>(-s, c);
  }
  return select(turned, -turned, (quarter & 2u) == 2u);
}
