//! Changing weights while they stream: plain numbers to F32, or to the simple quantized types.

mod blocks;
mod q4_k;

use super::dequant::dequantize;
use super::gguf::TensorInfo;
use super::types::TensorType;
use blocks::{q4_0, q5_0, q8_0};
use q4_k::q4_k;

/// What becomes of stored numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conversion {
    /// As they are stored: F32, F16 or BF16.
    pub from: TensorType,
    /// As they are read: F32, Q8_0, Q5_0, Q4_0 or Q4_K.
    pub to: TensorType,
    /// Added to each number.
    pub add: f32,
}

impl Conversion {
    /// Offset and length of the stored bytes that `blocks` blocks from block `first` are made of.
    #[must_use]
    pub fn stored(&self, first: u64, blocks: u64) -> (u64, u64) {
        let bytes = self.to.block_elements() * self.from.block_bytes();
        (first * bytes, blocks * bytes)
    }

    /// Appends what becomes of whole blocks.
    pub fn apply(&self, stored: &[u8], out: &mut Vec<u8>) {
        let mut numbers = vec![0.0; stored.len() / self.from.block_bytes() as usize];
        // Plain types of a fitting length cannot fail.
        if dequantize(self.from, stored, &mut numbers).is_err() {
            return;
        }
        if self.add != 0.0 {
            numbers.iter_mut().for_each(|number| *number += self.add);
        }
        match self.to {
            TensorType::Q8_0 => numbers.as_chunks::<32>().0.iter().for_each(|block| q8_0(block, out)),
            TensorType::Q5_0 => numbers.as_chunks::<32>().0.iter().for_each(|block| q5_0(block, out)),
            TensorType::Q4_0 => numbers.as_chunks::<32>().0.iter().for_each(|block| q4_0(block, out)),
            TensorType::Q4_K => numbers.as_chunks::<256>().0.iter().for_each(|block| q4_k(block, out)),
            _ => out.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
        }
    }
}

/// What matrices become while they stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quantize {
    /// Nothing else: as stored.
    #[default]
    None,
    /// Q8_0, 8.5 bits a weight.
    Q8_0,
    /// Q4_0, 4.5 bits a weight; the LM head (or the embedding that serves as one) is Q8_0, since every token depends on all of it.
    Q4_0,
    /// Q4_K, 4.5 bits a weight and nearer to them than Q4_0, which takes some time; matrices whose rows are no multiple of 256 are Q5_0, and
    /// the LM head is Q8_0.
    Q4K,
}

impl Quantize {
    /// Every choice.
    pub const ALL: [Self; 4] = [Self::None, Self::Q8_0, Self::Q4_0, Self::Q4K];

    /// `none`, `q8_0`, `q4_0` or `q4_k`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4K => "q4_k",
        }
    }

    /// The type that `tensor` is read as; `tied`: the embedding is the LM head too. As llama-quantize does it, vectors and the
    /// router of a mixture of experts stay as they are, and so does what is quantized already or has rows of other than whole blocks.
    #[must_use]
    pub fn of(self, tensor: &TensorInfo, tied: bool) -> TensorType {
        let plain = matches!(tensor.kind, TensorType::F32 | TensorType::F16 | TensorType::BF16);
        let name = tensor.name.as_str();
        let matrix = tensor.dims.iter().filter(|size| **size > 1).count() >= 2 && name.ends_with(".weight");
        let kept = name.contains("_norm.") || name.contains("ffn_gate_inp") || name.starts_with("position_embd");
        if !plain || !matrix || kept || !tensor.columns().is_multiple_of(32) {
            return tensor.kind;
        }
        match self {
            Self::None => tensor.kind,
            Self::Q8_0 => TensorType::Q8_0,
            Self::Q4_0 | Self::Q4K if name == "output.weight" || (tied && name == "token_embd.weight") => TensorType::Q8_0,
            Self::Q4_0 => TensorType::Q4_0,
            Self::Q4K if tensor.columns().is_multiple_of(256) => TensorType::Q4_K,
            Self::Q4K => TensorType::Q5_0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::source::{Content, Extent, MemorySource, Piece, Source, View};
    use half::bf16;
    use serde_json::Value;

    fn bytes(hex: &Value) -> Vec<u8> {
        let digit = |digit: u8| (digit as char).to_digit(16).unwrap() as u8;
        hex.as_str().unwrap().as_bytes().as_chunks().0.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
    }

    /// Made by `tests/oracle/quantize_cases.py`.
    fn cases() -> Vec<Value> {
        serde_json::from_str(include_str!("../../tests/data/quantize.json")).unwrap()
    }

    #[test]
    fn blocks_are_what_ggml_makes_of_them() {
        for case in cases() {
            for to in [TensorType::Q8_0, TensorType::Q5_0, TensorType::Q4_0] {
                let mut out = Vec::new();
                Conversion { from: TensorType::F32, to, add: 0.0 }.apply(&bytes(&case["f32"]), &mut out);
                assert_eq!(out, bytes(&case[to.name()]), "{to} of {}", case["name"]);
            }
        }
    }

    #[test]
    fn any_part_of_a_view_is_converted_alike() {
        let numbers: Vec<f32> = (0..256_u32 * 263).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6 - 8.0).collect();
        let stored: Vec<u8> = numbers.iter().flat_map(|number| bf16::from_f32(*number).to_le_bytes()).collect();
        for (to, block) in [(TensorType::Q8_0, 34), (TensorType::Q4_0, 18), (TensorType::Q4_K, 144), (TensorType::F32, 4)] {
            let conversion = Conversion { from: TensorType::BF16, to, add: 0.0 };
            let mut whole = Vec::new();
            conversion.apply(&stored, &mut whole);
            // The numbers lie in two parts, cut in the middle of a block, with other bytes around them.
            let (first, second) = stored.split_at(1002);
            let parts = vec![MemorySource::new("a", [&[9; 5], first].concat()), MemorySource::new("b", [&[9; 3], second].concat())];
            let piece = |part, offset, bytes: &[u8]| Piece { part, offset, bytes: bytes.len() as u64 };
            let pieces = vec![piece(0, 5, first), piece(1, 3, second)];
            let extent = Extent { offset: 64, bytes: whole.len() as u64, content: Content::Converted(pieces, conversion) };
            let mut view = View::new("v", None, parts, vec![extent]);
            for (start, len) in [(0, whole.len()), (0, block), (block, 3 * block), (block + 1, 2), (7, 40 * block + 3), (500, 0)] {
                let read = pollster::block_on(view.read(64 + start as u64, len)).unwrap().to_vec();
                assert!(read == whole[start..start + len], "{to}: {len} bytes at {start}");
            }
            assert!(pollster::block_on(view.read(64, whole.len() + 1)).is_err());
            assert!(pollster::block_on(view.read(0, 1)).is_err());
        }
    }

    #[test]
    fn only_matrices_are_quantized() {
        let tensor =
            |name: &str, kind, dims: &[u64]| TensorInfo { name: name.into(), dims: dims.to_vec(), kind, offset: 0, bytes: 0 };
        let (f32, bf16, q8, q4) = (TensorType::F32, TensorType::BF16, TensorType::Q8_0, TensorType::Q4_0);
        for (name, kind, dims, tied, wanted) in [
            ("blk.0.attn_q.weight", bf16, &[64, 32][..], false, q4),
            ("blk.0.ffn_up_exps.weight", f32, &[64, 32, 4], false, q4),
            ("blk.0.attn_norm.weight", f32, &[64], false, f32),
            ("blk.0.attn_q.bias", bf16, &[64, 2], false, bf16),
            ("blk.0.ffn_gate_inp.weight", f32, &[64, 8], false, f32),
            ("blk.0.attn_q.weight", bf16, &[48, 32], false, bf16),
            ("blk.0.attn_q.weight", TensorType::Q4_1, &[64, 32], false, TensorType::Q4_1),
            ("output.weight", bf16, &[64, 32], false, q8),
            ("token_embd.weight", bf16, &[64, 32], false, q4),
            ("token_embd.weight", bf16, &[64, 32], true, q8),
        ] {
            assert_eq!(Quantize::Q4_0.of(&tensor(name, kind, dims), tied), wanted, "{name} {dims:?}");
            assert_eq!(Quantize::None.of(&tensor(name, kind, dims), tied), kind);
            let k = Quantize::Q4K.of(&tensor(name, kind, dims), tied);
            assert_eq!(k, if wanted == q4 { TensorType::Q5_0 } else { wanted }, "{name} {dims:?}");
        }
        let wide = tensor("blk.0.ffn_down.weight", bf16, &[512, 32]);
        assert_eq!(Quantize::Q4K.of(&wide, false), TensorType::Q4_K);
    }
}
