//! The perplexity of SmolLM2 in every type that llama-quantize can make, against llama.cpp's with f32 activations. The files (4 GB) are made by
//! `tests/oracle/quantize.py`; those that are not in the cache's folder `quantized` are skipped.

#[path = "common/vocab.rs"]
mod vocab;

use kinglet::engine::{AbortSignal, Engine, LoadOptions};
use kinglet::gpu::{Gpu, GpuOptions};
use kinglet::kernels::KvType;
use kinglet::text::{AddBos, Encode};
use kinglet::weights::source::FileSource;
use pollster::block_on;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Golden {
    file: String,
    tokens: usize,
    types: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    ppl512: f64,
    bytes: u64,
}

#[test]
fn perplexity_of_every_type() {
    let Some(folder) = vocab::cached("quantized") else { return };
    let golden: Golden =
        serde_json::from_str(include_str!("golden/perplexity.json")).expect("the golden file is JSON of this form");
    let Ok(text) = std::fs::read_to_string(&golden.file) else { return eprintln!("skipped: {} is not here", golden.file) };
    let gpu = block_on(Gpu::open(GpuOptions::default())).expect("a Vulkan adapter (cargo xtask setup installs lavapipe)");
    let mut wrong = Vec::new();
    for (name, expected) in &golden.types {
        let path = folder.join(format!("smollm2-135m.{name}.gguf"));
        if !std::fs::metadata(&path).is_ok_and(|file| file.len() == expected.bytes) {
            eprintln!("skipped: {} is not there, or not as long as the one that was measured", path.display());
            continue;
        }
        let mut source = FileSource::open(path).expect("the file opens");
        let options = LoadOptions { context: Some(1024), kv_type: KvType::F32, ..LoadOptions::default() };
        let mut engine =
            block_on(Engine::load(gpu.clone(), &mut source, options, &mut |_| {}, &AbortSignal::new())).expect("the model loads");
        let mut ids = engine.tokenizer().encode(&text, Encode { parse_special: false, add_bos: AddBos::No }).expect("ids");
        ids.truncate(golden.tokens);
        let ratio = block_on(engine.perplexity(&ids)).expect("a perplexity").ppl() / expected.ppl512;
        println!("| {name} | {} | {:+.1e} |", expected.ppl512, ratio - 1.0);
        if (ratio - 1.0).abs() > 5e-3 {
            wrong.push(format!("{name}: {ratio} times llama.cpp's {}", expected.ppl512));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
