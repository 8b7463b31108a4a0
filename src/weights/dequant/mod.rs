//! Plain CPU dequantization to f32: what the GPU's repacked layouts are held to, and good enough for small tensors.
//!
//! The formulas are ggml's (ggml-quants.c, `dequantize_row_*`), and so are the values, bit for bit. All products are exact in f32: an f16 has
//! 11 significant bits, and the integers that it is multiplied with never more than 13 together. So only a minimum's addition rounds, and
//! the order of the products does not matter.
//!
//! | type | numbers a block | number |
//! |---|---|---|
//! | `F32`, `F16`, `BF16` | – | the value itself, widened exactly |
//! | `Q4_0`, `Q5_0` | 32 | `d * (q - 8)`, `d * (q - 16)` |
//! | `Q4_1`, `Q5_1` | 32 | `d * q + m` |
//! | `Q8_0`, `Q8_1` | 32 | `d * q`, signed |
//! | `Q2_K` | 16 × 16 | `d * s * q - dmin * m`, s and m of 4 bits |
//! | `Q3_K` | 16 × 16 | `d * (s - 32) * (q - 4)`, s of 6 bits |
//! | `Q4_K`, `Q5_K` | 8 × 32 | `d * s * q - dmin * m`, s and m of 6 bits |
//! | `Q6_K` | 16 × 16 | `d * s * (q - 32)`, s of 8 bits, signed |
//! | `IQ2_XXS`, `IQ2_XS`, `IQ2_S` | 8 × 32, 16 × 16 | `d * (s + 1/2) / 4 * p`, p of a grid with signs |
//! | `IQ3_XXS`, `IQ3_S` | 8 × 32 | `d * (s + 1/2) / 2 * p`, `d * (2 s + 1) * p` |
//! | `IQ1_S`, `IQ1_M` | 8 × 32, 16 × 16 | `d * (2 s + 1) * (p ± 1/8)`, p of a grid |
//! | `IQ4_NL` | 32 | `d * step[q]`, a table of 16 |
//! | `IQ4_XS` | 8 × 32 | `d * (s - 32) * step[q]`, s of 6 bits |
//! | `TQ1_0`, `TQ2_0`, `Q2_0` | 256, 256, 64 | `d * (q - 1)` |
//! | `Q1_0` | 128 | `d` or `-d` |
//! | `MXFP4` | 32 | E2M1 times a power of two |
//! | `NVFP4` | 4 × 16 | E2M1 times E4M3 |

mod iq;
mod iq4;
mod k_quants;
mod small_floats;
mod ternary;

use super::types::TensorType;
use half::{bf16, f16};

/// Why a row could not be dequantized.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DequantError {
    /// There is no CPU code for the type.
    #[error("dequantizing {0} is not supported yet")]
    Unsupported(TensorType),
    /// Bytes and numbers do not match.
    #[error("{numbers} numbers of {kind} do not take {bytes} bytes")]
    Length {
        /// The type.
        kind: TensorType,
        /// Length of the bytes given.
        bytes: usize,
        /// Length of the output given.
        numbers: usize,
    },
}

/// Dequantizes whole rows: `bytes` as they are in the GGUF file, `out` with one place for each number.
///
/// # Errors
/// `Unsupported` for a type without CPU code, `Length` where `bytes` is not exactly what `out.len()` numbers take.
pub fn dequantize(kind: TensorType, bytes: &[u8], out: &mut [f32]) -> Result<(), DequantError> {
    if kind.row_bytes(out.len() as u64) != Some(bytes.len() as u64) {
        return Err(DequantError::Length { kind, bytes: bytes.len(), numbers: out.len() });
    }
    match kind {
        TensorType::F32 => each(bytes, out, f32::from_le_bytes),
        TensorType::F16 => each(bytes, out, |two| f16::from_le_bytes(two).to_f32()),
        TensorType::BF16 => each(bytes, out, |two| bf16::from_le_bytes(two).to_f32()),
        TensorType::Q4_0 => blocks(bytes, out, |block: &[u8; 18], out: &mut [f32; 32]| {
            let d = half_at(block, 0);
            each_of(out, |i| d * (nibble(&block[2..], i) - 8.0));
        }),
        TensorType::Q4_1 => blocks(bytes, out, |block: &[u8; 20], out: &mut [f32; 32]| {
            let [d, m] = [half_at(block, 0), half_at(block, 2)];
            each_of(out, |i| d * nibble(&block[4..], i) + m);
        }),
        TensorType::Q5_0 => blocks(bytes, out, |block: &[u8; 22], out: &mut [f32; 32]| {
            let d = half_at(block, 0);
            each_of(out, |i| d * (nibble(&block[6..], i) + 16.0 * bit(&block[2..], i) - 16.0));
        }),
        TensorType::Q5_1 => blocks(bytes, out, |block: &[u8; 24], out: &mut [f32; 32]| {
            let [d, m] = [half_at(block, 0), half_at(block, 2)];
            each_of(out, |i| d * (nibble(&block[8..], i) + 16.0 * bit(&block[4..], i)) + m);
        }),
        TensorType::Q8_0 => blocks(bytes, out, |block: &[u8; 34], out: &mut [f32; 32]| {
            let d = half_at(block, 0);
            each_of(out, |i| d * f32::from(block[2 + i].cast_signed()));
        }),
        TensorType::Q8_1 => blocks(bytes, out, |block: &[u8; 36], out: &mut [f32; 32]| {
            let d = half_at(block, 0);
            each_of(out, |i| d * f32::from(block[4 + i].cast_signed()));
        }),
        TensorType::Q2_K => blocks(bytes, out, k_quants::q2_k),
        TensorType::Q3_K => blocks(bytes, out, k_quants::q3_k),
        TensorType::Q4_K => blocks(bytes, out, k_quants::q4_k),
        TensorType::Q5_K => blocks(bytes, out, k_quants::q5_k),
        TensorType::Q6_K => blocks(bytes, out, k_quants::q6_k),
        TensorType::IQ2_XXS => blocks(bytes, out, iq::iq2_xxs),
        TensorType::IQ2_XS => blocks(bytes, out, iq::iq2_xs),
        TensorType::IQ2_S => blocks(bytes, out, iq::iq2_s),
        TensorType::IQ3_XXS => blocks(bytes, out, iq::iq3_xxs),
        TensorType::IQ3_S => blocks(bytes, out, iq::iq3_s),
        TensorType::IQ1_S => blocks(bytes, out, iq::iq1_s),
        TensorType::IQ1_M => blocks(bytes, out, iq::iq1_m),
        TensorType::IQ4_NL => blocks(bytes, out, iq4::iq4_nl),
        TensorType::IQ4_XS => blocks(bytes, out, iq4::iq4_xs),
        TensorType::TQ1_0 => blocks(bytes, out, ternary::tq1_0),
        TensorType::TQ2_0 => blocks(bytes, out, ternary::tq2_0),
        TensorType::Q1_0 => blocks(bytes, out, ternary::q1_0),
        TensorType::Q2_0 => blocks(bytes, out, ternary::q2_0),
        TensorType::MXFP4 => blocks(bytes, out, small_floats::mxfp4),
        TensorType::NVFP4 => blocks(bytes, out, small_floats::nvfp4),
        other => return Err(DequantError::Unsupported(other)),
    }
    Ok(())
}

/// Dequantizes a whole tensor of `elements` numbers into a new vector.
///
/// # Errors
/// As [`dequantize`].
pub fn dequantized(kind: TensorType, bytes: &[u8], elements: usize) -> Result<Vec<f32>, DequantError> {
    // Checked before anything is allocated for a count that the bytes do not bear out.
    if kind.row_bytes(elements as u64) != Some(bytes.len() as u64) {
        return Err(DequantError::Length { kind, bytes: bytes.len(), numbers: elements });
    }
    let mut out = vec![0.0; elements];
    dequantize(kind, bytes, &mut out)?;
    Ok(out)
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    for (out, &bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = number(bytes);
    }
}

fn blocks<const BYTES: usize, const N: usize>(bytes: &[u8], out: &mut [f32], block: impl Fn(&[u8; BYTES], &mut [f32; N])) {
    for (out, bytes) in out.as_chunks_mut::<N>().0.iter_mut().zip(bytes.as_chunks::<BYTES>().0) {
        block(bytes, out);
    }
}

fn each_of(out: &mut [f32], number: impl Fn(usize) -> f32) {
    out.iter_mut().enumerate().for_each(|(i, out)| *out = number(i));
}

/// Of 32 nibbles in 16 bytes, the first 16 are the low halves.
fn nibble(bytes: &[u8], i: usize) -> f32 {
    f32::from(bytes[i % 16] >> (i / 16 * 4) & 15)
}

fn bit(bytes: &[u8], i: usize) -> f32 {
    f32::from(bytes[i / 8] >> (i % 8) & 1)
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect()
    }

    #[test]
    fn plain_types_are_widened_exactly() {
        let values = [0.0, -0.0, 1.5, -2.25, 65504.0, 5.960_464_5e-8];
        let bytes: Vec<u8> = values.iter().flat_map(|v: &f32| v.to_le_bytes()).collect();
        assert_eq!(dequantized(TensorType::F32, &bytes, 6).unwrap(), values);
        assert_eq!(dequantized(TensorType::F16, &halves(&values), 6).unwrap(), values);
        let upper: Vec<u8> = values[..4].iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        let widened = dequantized(TensorType::BF16, &upper, 4).unwrap();
        assert_eq!(widened, values[..4]);
        assert!(widened[1].is_sign_negative());
    }

    #[test]
    fn q4_0_has_low_nibbles_first() {
        let mut block = halves(&[0.5]);
        block.extend((0..16).map(|i| i | (15 - i) << 4));
        let numbers = dequantized(TensorType::Q4_0, &block, 32).unwrap();
        for i in 0..16 {
            assert_eq!(numbers[i], (i as f32 - 8.0) * 0.5);
            assert_eq!(numbers[i + 16], (7.0 - i as f32) * 0.5);
        }
    }

    #[test]
    fn q4_1_adds_the_minimum() {
        let mut bytes = halves(&[2.0, -3.0]);
        bytes.extend([0x21; 16]);
        bytes.extend(halves(&[0.25, 8.0]));
        bytes.extend([0xF0; 16]);
        let numbers = dequantized(TensorType::Q4_1, &bytes, 64).unwrap();
        assert_eq!(numbers[..16], [-1.0; 16]);
        assert_eq!(numbers[16..32], [1.0; 16]);
        assert_eq!(numbers[32..48], [8.0; 16]);
        assert_eq!(numbers[48..], [11.75; 16]);
    }

    #[test]
    fn q8_0_is_signed() {
        let mut block = halves(&[0.125]);
        block.extend((0..32_u8).map(|i| i.wrapping_sub(16).wrapping_mul(8)));
        let numbers = dequantized(TensorType::Q8_0, &block, 32).unwrap();
        for (i, number) in numbers.into_iter().enumerate() {
            assert_eq!(number, i as f32 - 16.0);
        }
    }

    #[test]
    fn lengths_and_types_are_checked() {
        assert!(matches!(dequantized(TensorType::Q4_0, &[0; 18], 64), Err(DequantError::Length { .. })));
        assert!(matches!(dequantized(TensorType::Q4_0, &[0; 18], 31), Err(DequantError::Length { .. })));
        assert!(matches!(dequantized(TensorType::F32, &[], usize::MAX), Err(DequantError::Length { .. })));
        assert_eq!(dequantized(TensorType::Q8_K, &[0; 292], 256), Err(DequantError::Unsupported(TensorType::Q8_K)));
    }
}
