//! `tests/golden/types.gguf`: blocks of every quantized type, and what they mean by an independent implementation.

use kinglet::weights::gguf::{Gguf, Parse};
use kinglet::weights::types::TensorType;

/// Blocks of one type.
pub struct Sample {
    pub kind: TensorType,
    pub bytes: Vec<u8>,
    pub numbers: Vec<f32>,
}

/// All of the file.
pub fn samples() -> Vec<Sample> {
    let file = include_bytes!("../golden/types.gguf");
    let Ok(Parse::Done(header)) = Gguf::parse(file, Some(file.len() as u64)) else { panic!("types.gguf is not whole") };
    let content = |name: &str| {
        let tensor = header.tensor(name).unwrap_or_else(|| panic!("no tensor {name}"));
        file[tensor.offset as usize..][..tensor.bytes as usize].to_vec()
    };
    let quantized = header.tensors.iter().filter(|tensor| tensor.kind != TensorType::F32);
    let sample = |kind: TensorType| Sample {
        kind,
        bytes: content(kind.name()),
        numbers: content(&format!("{kind}.f32")).as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
    };
    quantized.map(|tensor| sample(tensor.kind)).collect()
}
