//! Goldens of tiny models that llama.cpp ran (`tests/oracle/families.py`): the file that it ran, made again from its description, and what it gave.

#![allow(dead_code, reason = "every test uses its own part")]

use super::ggufwriter::GgufWriter;
use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;

/// One model, as the script writes it.
#[derive(Deserialize)]
pub struct Golden {
    pub name: String,
    metadata: Vec<(String, String, Value)>,
    /// Name, sizes, and the middle and half the range of its numbers.
    tensors: Vec<(String, Vec<u64>, f64, f64)>,
    pub prompt: Vec<u32>,
    pub greedy: Vec<u32>,
    /// The distance between the two greatest logits of each greedy step.
    pub margins: Vec<f64>,
    pub vocab: usize,
    logits: String,
}

/// All of them, by name.
pub fn all() -> Vec<Golden> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "the goldens are gone");
    files.iter().map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()).collect()
}

/// The one of that name.
pub fn named(name: &str) -> Golden {
    all().into_iter().find(|golden| golden.name == name).unwrap_or_else(|| panic!("no golden {name}"))
}

impl Golden {
    /// Logits at every position of the prompt, (prompt, vocab).
    pub fn logits(&self) -> Vec<f64> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(&self.logits).unwrap();
        bytes.chunks_exact(4).map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap()))).collect()
    }

    /// With another value of a metadata key, or one more.
    pub fn with(mut self, key: &str, kind: &str, value: Value) -> Self {
        self.metadata.retain(|(known, ..)| known != key);
        self.metadata.push((key.into(), kind.into(), value));
        self
    }

    /// With other sizes of a tensor, or one more.
    pub fn with_tensor(mut self, name: &str, dims: &[u64]) -> Self {
        self.tensors.retain(|(known, ..)| known != name);
        self.tensors.push((name.into(), dims.into(), 1.0, 0.5));
        self
    }

    /// Without a tensor.
    pub fn without_tensor(mut self, name: &str) -> Self {
        self.tensors.retain(|(known, ..)| known != name);
        self
    }

    /// Without a metadata key.
    pub fn without(mut self, key: &str) -> Self {
        self.metadata.retain(|(known, ..)| known != key);
        self
    }

    /// The GGUF file, with a vocabulary that stands in for none.
    pub fn file(&self) -> Vec<u8> {
        let mut file = GgufWriter::new();
        for (key, kind, value) in &self.metadata {
            let number = || value.as_f64().unwrap();
            let numbers = || value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap());
            file = match kind.as_str() {
                _ if key == "tokenizer.ggml.model" => file,
                "string" => file.string(key, value.as_str().unwrap()),
                "u32" => file.u32(key, number() as u32),
                "i32" => file.i32(key, number() as i32),
                "u64" => file.u64(key, number() as u64),
                "f32" => file.f32(key, number() as f32),
                "bool" => file.bool(key, value.as_bool().unwrap()),
                "u32[]" => file.u32s(key, &numbers().map(|n| n as u32).collect::<Vec<_>>()),
                "i32[]" => file.i32s(key, &numbers().map(|n| n as i32).collect::<Vec<_>>()),
                "f32[]" => file.f32s(key, &numbers().map(|n| n as f32).collect::<Vec<_>>()),
                "bool[]" => {
                    file.bools(key, &value.as_array().unwrap().iter().map(|flag| flag.as_bool().unwrap()).collect::<Vec<_>>())
                }
                other => panic!("{}: {key} has the type {other}", self.name),
            };
        }
        let tokens: Vec<String> = (0..self.vocab).map(|id| format!("w{id}")).collect();
        file = file
            .string("tokenizer.ggml.model", "llama")
            .strings("tokenizer.ggml.tokens", &tokens)
            .f32s("tokenizer.ggml.scores", &vec![0.0; self.vocab])
            .i32s("tokenizer.ggml.token_type", &vec![1; self.vocab]);
        for (name, dims, center, spread) in &self.tensors {
            let count = dims.iter().product::<u64>();
            let numbers: Vec<f32> = (0..count).map(|i| (center + spread * uniform(name, i)) as f32).collect();
            file = file.f32_tensor(name, dims, &numbers);
        }
        file.bytes()
    }
}

/// A number in -1..1 for element `i` of a tensor: FNV-1a of its name and splitmix64, as the script has it.
fn uniform(name: &str, i: u64) -> f64 {
    let hash =
        name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mut z = hash.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    2.0 * (z >> 40) as f64 / f64::from(1 << 24) - 1.0
}
