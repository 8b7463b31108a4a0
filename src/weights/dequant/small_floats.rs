//! Four-bit floating-point numbers with a scale of eight bits for each 16 or 32 of them.

/// E2M1, doubled so that all are integers.
const E2M1: [f32; 16] = [0., 1., 2., 3., 4., 6., 8., 12., 0., -1., -2., -3., -4., -6., -8., -12.];

/// Half of an E8M0: 2^(e - 128).
fn e8m0(e: u8) -> f32 {
    f32::from_bits(match e {
        0 | 1 => 0x0020_0000 << e,
        _ => u32::from(e - 1) << 23,
    })
}

/// Half of an E4M3 without sign. Not-a-number counts as zero.
fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (byte >> 3 & 15, byte & 7);
    match (byte, exponent) {
        (0x7F, _) => 0.0,
        (_, 0) => f32::from(mantissa) / 1024.0,
        _ => f32::from(mantissa + 8) * f32::from_bits((u32::from(exponent) + 116) << 23),
    }
}

pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    let d = e8m0(block[0]);
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * E2M1[usize::from(block[1 + i % 16] >> (i / 16 * 4) & 15)];
    }
}

pub(super) fn nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = e4m3(block[i / 16]) * E2M1[usize::from(block[4 + i / 16 * 8 + i % 8] >> (i / 8 % 2 * 4) & 15)];
    }
}
