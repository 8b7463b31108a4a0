//! Plain CPU dequantization to f32: what the GPU's repacked layouts are held to, and good enough for small tensors.
//!
//! The formulas are ggml's (ggml-quants.c, `dequantize_row_*`). A block holds 32 numbers; `d` and `m` are f16
//! widened to f32, nibble `i` is the low half of byte `i` for `i < 16` and the high half of byte `i - 16` after that.
//!
//! | type | block | number |
//! |---|---|---|
//! | `F32`, `F16`, `BF16` | – | the value itself, widened exactly |
//! | `Q4_0` | f16 d, 16 bytes | `(nibble - 8) * d` |
//! | `Q4_1` | f16 d, f16 m, 16 bytes | `nibble * d + m`, the product rounded before the sum |
//! | `Q8_0` | f16 d, 32 signed bytes | `byte * d` |

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
        TensorType::Q4_0 => blocks(bytes, out, |block: &[u8; 18], out| {
            let (d, nibbles) = (half_at(block, 0), &block[2..]);
            for (i, &byte) in nibbles.iter().enumerate() {
                out[i] = (f32::from(byte & 0x0F) - 8.0) * d;
                out[i + 16] = (f32::from(byte >> 4) - 8.0) * d;
            }
        }),
        TensorType::Q4_1 => blocks(bytes, out, |block: &[u8; 20], out| {
            let (d, m, nibbles) = (half_at(block, 0), half_at(block, 2), &block[4..]);
            for (i, &byte) in nibbles.iter().enumerate() {
                out[i] = f32::from(byte & 0x0F) * d + m;
                out[i + 16] = f32::from(byte >> 4) * d + m;
            }
        }),
        TensorType::Q8_0 => blocks(bytes, out, |block: &[u8; 34], out| {
            let (d, signed) = (half_at(block, 0), &block[2..]);
            for (number, &byte) in out.iter_mut().zip(signed) {
                *number = f32::from(byte.cast_signed()) * d;
            }
        }),
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

fn blocks<const BYTES: usize>(bytes: &[u8], out: &mut [f32], block: impl Fn(&[u8; BYTES], &mut [f32; 32])) {
    let out = out.as_chunks_mut::<32>().0;
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<BYTES>().0) {
        block(bytes, out);
    }
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
        assert_eq!(dequantized(TensorType::Q4_K, &[0; 144], 256), Err(DequantError::Unsupported(TensorType::Q4_K)));
    }
}
