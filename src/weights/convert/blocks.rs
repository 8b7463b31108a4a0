//! Blocks of 32 numbers. The rounding is ggml's (ggml-quants.c, `quantize_row_*_ref`), so that a file made by llama-quantize and a model
//! quantized here are the same bytes:
//!
//! | type | scale d (stored as f16) | number |
//! |---|---|---|
//! | `Q8_0` | largest magnitude / 127 | `x / d`, halves away from zero |
//! | `Q5_0` | the number of largest magnitude / -16 | `x / d + 16`, halves up, at most 31 |
//! | `Q4_0` | the number of largest magnitude / -8 | `x / d + 8`, halves up, at most 15 |

use half::f16;

pub(super) fn q8_0(block: &[f32; 32], out: &mut Vec<u8>) {
    let largest = block.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
    let (d, inverse) = scale(largest, 127.0);
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(block.map(|number| ((number * inverse).round() as i8).cast_unsigned()));
}

pub(super) fn q5_0(block: &[f32; 32], out: &mut Vec<u8>) {
    let (d, inverse) = scale(extreme(block), -16.0);
    let numbers = block.map(|number| ((number * inverse + 16.5) as u8).min(31));
    let high = numbers.iter().rev().fold(0_u32, |bits, number| bits << 1 | u32::from(number >> 4));
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(high.to_le_bytes());
    out.extend(nibbles(&numbers));
}

pub(super) fn q4_0(block: &[f32; 32], out: &mut Vec<u8>) {
    let (d, inverse) = scale(extreme(block), -8.0);
    let numbers = block.map(|number| ((number * inverse + 8.5) as u8).min(15));
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(nibbles(&numbers));
}

/// The number of largest magnitude; the first of equal ones decides the sign.
fn extreme(block: &[f32; 32]) -> f32 {
    block.iter().fold(0.0, |largest: f32, number| if number.abs() > largest.abs() { *number } else { largest })
}

/// The scale that makes `number` become `level`, and its inverse.
fn scale(number: f32, level: f32) -> (f32, f32) {
    let d = number / level;
    (d, if d == 0.0 { 0.0 } else { 1.0 / d })
}

/// The low four bits of a half's numbers, and above them those of the other half's.
pub(super) fn nibbles(numbers: &[u8]) -> impl Iterator<Item = u8> {
    let (low, high) = numbers.split_at(numbers.len() / 2);
    low.iter().zip(high).map(|(low, high)| low & 15 | high << 4)
}
