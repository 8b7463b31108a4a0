//! ggml's K-quants: blocks of 256 numbers with small integer scales for each 16 or 32 of them.

use super::half_at;

/// Six-bit scale and minimum of block `i` of 32 numbers, out of twelve bytes.
fn scale_and_minimum(bytes: &[u8], i: usize) -> [f32; 2] {
    let [scale, minimum] = match i {
        0..4 => [bytes[i] & 63, bytes[i + 4] & 63],
        _ => [bytes[i + 4] & 15 | bytes[i - 4] >> 6 << 4, bytes[i + 4] >> 4 | bytes[i] >> 6 << 4],
    };
    [scale, minimum].map(f32::from)
}

pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let [d, dmin] = [half_at(block, 0), half_at(block, 2)];
    for (i, out) in out.iter_mut().enumerate() {
        let [scale, minimum] = scale_and_minimum(&block[4..16], i / 32);
        let nibble = block[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
        *out = d * scale * f32::from(nibble) - dmin * minimum;
    }
}

pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let [d, dmin] = [half_at(block, 0), half_at(block, 2)];
    for (i, out) in out.iter_mut().enumerate() {
        let [scale, minimum] = scale_and_minimum(&block[4..16], i / 32);
        let nibble = block[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
        let fifth = block[16 + i % 32] >> (i / 32) & 1;
        *out = d * scale * f32::from(nibble | fifth << 4) - dmin * minimum;
    }
}

pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half_at(block, 208);
    for (i, out) in out.iter_mut().enumerate() {
        let (half, i_half) = (i / 128, i % 128);
        let low = block[half * 64 + i_half % 64] >> (i_half / 64 * 4) & 15;
        let high = block[128 + half * 32 + i_half % 32] >> (i_half / 32 * 2) & 3;
        let scale = f32::from(block[192 + i / 16].cast_signed());
        *out = d * scale * (f32::from(low | high << 4) - 32.0);
    }
}

pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let [d, dmin] = [half_at(block, 80), half_at(block, 82)];
    for (i, out) in out.iter_mut().enumerate() {
        let both = block[i / 16];
        *out = d * f32::from(both & 15) * f32::from(pair(&block[16..], i)) - dmin * f32::from(both >> 4);
    }
}

pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = half_at(block, 108);
    for (i, out) in out.iter_mut().enumerate() {
        let of = i / 16;
        let scale = block[96 + of % 8] >> (of / 8 * 4) & 15 | (block[104 + of % 4] >> (of / 4 * 2) & 3) << 4;
        let third = block[i % 32] >> (i / 32) & 1;
        *out = d * (f32::from(scale) - 32.0) * (f32::from(pair(&block[32..], i) | third << 2) - 4.0);
    }
}

/// Pair of bits `i`: 32 bytes for each 128 numbers, the first 32 of these in the lowest bits.
pub(super) fn pair(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3
}
