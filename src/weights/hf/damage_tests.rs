//! Files that are damaged, or come from servers that tell little.

use super::tests::{config, model, opened, rows};
use super::*;
use crate::weights::files::open_model;
use crate::weights::files::tests::{Memory, run};
use crate::weights::source::MemorySource;
use serde_json::json;

#[test]
fn bad_headers_are_errors() {
    let parse = |json: Json| safetensors::parse("f", json.to_string().as_bytes(), Some(1000), 0);
    let entry = |shape: Json, offsets: Json| json!({"t": {"dtype": "F32", "shape": shape, "data_offsets": offsets}});
    assert_eq!(parse(entry(json!([2, 3]), json!([8, 32]))).unwrap()[0].bytes, 24);
    assert_eq!(parse(entry(json!([]), json!([0, 4]))).unwrap()[0].bytes, 4);
    for (shape, offsets) in [
        (json!([2, 3]), json!([8, 33])),
        (json!([2, 3]), json!([32, 8])),
        (json!([300]), json!([0, 1200])),
        (json!([u64::MAX, u64::MAX]), json!([0, 4])),
        (json!([1]), json!([u64::MAX - 4, u64::MAX])),
        (json!([-1]), json!([0, 4])),
        (json!([1]), json!([0])),
        (json!("1"), json!([0, 4])),
    ] {
        assert!(parse(entry(shape.clone(), offsets.clone())).is_err(), "{shape} {offsets}");
    }
    for text in ["", "[]", "{\"t\": 1}", "{\"t\":", "nonsense"] {
        assert!(safetensors::parse("f", text.as_bytes(), None, 0).is_err(), "{text}");
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(safetensors::parse("f", format!("{{\"t\": {deep}}}").as_bytes(), None, 0).is_err());
    // What is ignored may be as deep as it likes.
    assert_eq!(safetensors::parse("f", format!("{{\"__metadata__\": {deep}}}").as_bytes(), None, 0), Ok(Vec::new()));
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend(b"{}");
    assert!(run(safetensors::read(&mut MemorySource::new("f", huge), 0)).is_err());
    assert!(run(safetensors::read(&mut MemorySource::new("f", vec![1, 2, 3]), 0)).is_err());
}

#[test]
fn no_mutation_of_a_good_file_does_harm() {
    let good = model(&config("llama"), &rows(&[], &[]));
    let mut state = 1_u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for round in 0..2000 {
        let mut files = good.clone();
        let name = ["config.json", "model.safetensors", "generation_config.json"][round % 3];
        let bytes = files.0.get_mut(name).unwrap();
        for _ in 0..=random(3) {
            let at = random(bytes.len().min(2500));
            match random(3) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes[at] = b"0129,:{}[]\""[random(11)],
            }
        }
        if let Ok(mut opened) = run(open_model(&mut files, None, "tiny", Quantize::Q4_0)) {
            for tensor in opened.gguf.tensors.clone() {
                let _ = run(opened.source.read(tensor.offset, tensor.bytes as usize));
            }
        }
    }
}

/// A server that does not say how long its files are.
struct Untold(Memory);

#[derive(Debug)]
struct UntoldSource(MemorySource);

impl Source for UntoldSource {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self) -> Option<u64> {
        None
    }

    async fn read(&mut self, offset: u64, len: usize) -> Result<crate::weights::source::Chunk, SourceError> {
        self.0.read(offset, len).await
    }
}

impl Files for Untold {
    type Source = UntoldSource;

    async fn open(&mut self, name: &str) -> Result<Option<UntoldSource>, SourceError> {
        Ok(self.0.open(name).await?.map(UntoldSource))
    }
}

#[test]
fn files_of_untold_length_are_read_to_their_end() {
    let files = model(&config("llama"), &rows(&[], &[]));
    let untold = run(open_model(&mut Untold(files.clone()), None, "tiny", Quantize::None)).expect("a good model");
    assert_eq!(untold.gguf, opened(&files, Quantize::None).gguf);
    for size in [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20] {
        let mut files = Untold(Memory([("f".to_owned(), vec![7; size])].into()));
        assert_eq!(run(text(&mut files, "f", 3 << 20)).unwrap().map(|bytes| bytes.len()), Some(size));
        assert_eq!(run(text(&mut files, "f", (3 << 20) - 1)).is_err(), size == 3 << 20, "{size}");
    }
}
