//! Types whose numbers come 4 or 8 at a time from a grid of points (ggml's IQ1 to IQ3).

use super::{each_of, half_at};

/// Where each grid begins in the file, which `tests/oracle/iq_grids.py` makes and describes.
const IQ2_XXS: usize = 0;
const IQ2_XS: usize = 256;
const IQ2_S: usize = 768;
const IQ1: usize = 1792;
const IQ3_XXS: usize = 3840;
const IQ3_S: usize = 4096;

/// The level of number `i` of a point, which has 4 of three bits or 8 of two.
fn level(point: usize, numbers: usize, i: usize) -> usize {
    const GRIDS: &[u8] = include_bytes!("../../../shaders/repack/grids.bin");
    let point = u16::from_le_bytes([GRIDS[2 * point], GRIDS[2 * point + 1]]);
    let bits = if numbers == 4 { 3 } else { 2 };
    usize::from(point >> (i % numbers * bits)) & ((1 << bits) - 1)
}

const IQ2_LEVELS: [f32; 3] = [8., 25., 43.];
const IQ3_XXS_LEVELS: [f32; 8] = [4., 12., 20., 28., 36., 44., 52., 62.];

/// -1 where bit `i` of `bits` is set.
fn sign(bits: u32, i: usize) -> f32 {
    if bits >> i & 1 == 1 { -1.0 } else { 1.0 }
}

/// Eight signs of which an even number is set, by the first seven.
fn eight_signs(seven: u32) -> u32 {
    seven | (seven.count_ones() & 1) << 7
}

fn word_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn nibble(bytes: &[u8], i: usize) -> f32 {
    f32::from(bytes[i / 2] >> (i % 2 * 4) & 15)
}

pub(super) fn iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    each_of(out, |i| {
        let (eight, of_eight) = (2 + i / 32 * 8, i / 8 % 4);
        let bits = word_at(block, eight + 4);
        let signs = eight_signs(bits >> (7 * of_eight) & 127);
        let number = IQ2_LEVELS[level(IQ2_XXS + usize::from(block[eight + of_eight]), 8, i)];
        d * (0.5 + (bits >> 28) as f32) * 0.25 * number * sign(signs, i % 8)
    });
}

pub(super) fn iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    each_of(out, |i| {
        let both = u16::from_le_bytes([block[2 + i / 8 * 2], block[3 + i / 8 * 2]]);
        let number = IQ2_LEVELS[level(IQ2_XS + usize::from(both & 511), 8, i)];
        d * (0.5 + nibble(&block[66..], i / 16)) * 0.25 * number * sign(eight_signs(u32::from(both >> 9)), i % 8)
    });
}

pub(super) fn iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    each_of(out, |i| {
        let high = block[66 + i / 32] >> (i / 8 % 4 * 2) & 3;
        let number = IQ2_LEVELS[level(IQ2_S + (usize::from(block[2 + i / 8]) | usize::from(high) << 8), 8, i)];
        d * (0.5 + nibble(&block[74..], i / 16)) * 0.25 * number * sign(block[34 + i / 8].into(), i % 8)
    });
}

pub(super) fn iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    each_of(out, |i| {
        let bits = word_at(block, 66 + i / 32 * 4);
        let signs = eight_signs(bits >> (i / 8 % 4 * 7) & 127);
        let number = IQ3_XXS_LEVELS[level(IQ3_XXS + usize::from(block[2 + i / 4]), 4, i)];
        d * (0.5 + (bits >> 28) as f32) * 0.5 * number * sign(signs, i % 8)
    });
}

pub(super) fn iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    each_of(out, |i| {
        let high = block[66 + i / 32] >> (i / 4 % 8) & 1;
        let level = level(IQ3_S + (usize::from(block[2 + i / 4]) | usize::from(high) << 8), 4, i);
        d * (1.0 + 2.0 * nibble(&block[106..], i / 32)) * (1 + 2 * level) as f32 * sign(block[74 + i / 8].into(), i % 8)
    });
}

pub(super) fn iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    each_of(out, |i| {
        let bits = u16::from_le_bytes([block[34 + i / 32 * 2], block[35 + i / 32 * 2]]);
        let high = usize::from(bits >> (i / 8 % 4 * 3) & 7);
        let level = level(IQ1 + (usize::from(block[2 + i / 8]) | high << 8), 8, i);
        d * f32::from(2 * (bits >> 12 & 7) + 1) * (level as f32 - 1.0 + 0.125 * sign(bits.into(), 15))
    });
}

pub(super) fn iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    let scales = [0, 1, 2, 3].map(|i| u16::from_le_bytes([block[48 + 2 * i], block[49 + 2 * i]]));
    // The f16 is in the upper four bits of each.
    let d = scales.iter().rev().fold(0, |bits, scale| bits << 4 | scale >> 12);
    let d = half_at(&d.to_le_bytes(), 0);
    each_of(out, |i| {
        let bits = block[32 + i / 16] >> (i / 8 % 2 * 4) & 15;
        let level = level(IQ1 + (usize::from(block[i / 8]) | usize::from(bits & 7) << 8), 8, i);
        let scale = scales[i / 64] >> (i / 16 % 4 * 3) & 7;
        d * f32::from(2 * scale + 1) * (level as f32 - 1.0 + 0.125 * sign(bits.into(), 3))
    });
}
