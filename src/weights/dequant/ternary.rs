//! Types of one or two bits, with one f16 for a block.

use super::k_quants::pair;
use super::{bit, each_of, half_at};

pub(super) fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    let d = half_at(block, 52);
    each_of(out, |i| {
        // Digits to the base of 3, five in a byte, as a fraction of 256: the highest first.
        let (byte, digit) = match i {
            0..160 => (i % 32, i / 32),
            160..240 => (32 + i % 16, (i - 160) / 16),
            _ => (48 + i % 4, (i - 240) / 4),
        };
        let fraction = (0..digit).fold(block[byte], |fraction, _| fraction.wrapping_mul(3));
        d * (f32::from((u16::from(fraction) * 3) >> 8) - 1.0)
    });
}

pub(super) fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half_at(block, 64);
    each_of(out, |i| d * (f32::from(pair(block, i)) - 1.0));
}

pub(super) fn q1_0(block: &[u8; 18], out: &mut [f32; 128]) {
    let d = half_at(block, 0);
    each_of(out, |i| d * (2.0 * bit(&block[2..], i) - 1.0));
}

pub(super) fn q2_0(block: &[u8; 18], out: &mut [f32; 64]) {
    let d = half_at(block, 0);
    each_of(out, |i| d * (f32::from(block[2 + i / 4] >> (i % 4 * 2) & 3) - 1.0));
}
