//! Every family on the GPU against llama.cpp, which ran the same tiny models: logits of a whole prompt, and greedy answers.
//!
//! `FAMILY=gemma` runs those whose names begin so.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[path = "common/golden_family.rs"]
mod golden_family;
#[path = "common/gpu.rs"]
mod gpu;

use golden_family::Golden;
use gpu::open_both;
use kinglet::engine::{AbortSignal, Engine, GenerateParams, LoadOptions};
use kinglet::gpu::Gpu;
use kinglet::kernels::KvType;
use kinglet::sampling::SamplingParams;
use kinglet::weights::source::MemorySource;
use pollster::block_on;

/// The greatest difference of a logit. Both sides compute in f32; logits are a few units large.
const TOLERANCE: f64 = 1e-4;

fn load(gpu: &Gpu, golden: &Golden) -> Result<Engine, String> {
    let mut source = MemorySource::new("tiny.gguf", golden.file());
    let options = LoadOptions { context: Some(512), kv_type: KvType::F32, ..LoadOptions::default() };
    block_on(Engine::load(gpu.clone(), &mut source, options, &mut |_| {}, &AbortSignal::new()))
        .map_err(|error| format!("does not load: {error}"))
}

fn check(gpu: &Gpu, golden: &Golden) -> Result<(f64, f64), String> {
    let mut engine = load(gpu, golden)?;
    let expected = golden.logits();
    let mut logits = Vec::new();
    block_on(engine.logits(&golden.prompt, &mut |_, row| logits.extend(row.iter().map(|x| f64::from(*x))))).unwrap();
    let worst = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(&logits, &expected) / (dot(&logits, &logits) * dot(&expected, &expected)).sqrt();
    if logits.len() != expected.len() || worst.is_nan() || worst > TOLERANCE {
        return Err(format!("logits off by {worst}, cosine {cosine}"));
    }
    // Once as a prompt of many rows, once with every token but the first by decode steps.
    let sampling = SamplingParams { temperature: 0.0, ..Default::default() };
    let params = GenerateParams { max_tokens: Some(golden.greedy.len() as u32), sampling, stop: Vec::new(), ignore_eos: true };
    let answer = block_on(engine.generate(&golden.prompt, &params, &mut |_, _| {}, &AbortSignal::new())).unwrap();
    let close = golden.margins.iter().position(|margin| *margin < 2.0 * TOLERANCE).unwrap_or(golden.greedy.len());
    if answer.ids[..close] != golden.greedy[..close] {
        return Err(format!("answers {:?} instead of {:?} (logits off by {worst})", answer.ids, golden.greedy));
    }
    Ok((worst, cosine))
}

/// Architectures that have a golden, but no row in `family.rs` yet.
const NOT_YET: [&str; 1] = ["gpt-oss"];

#[test]
fn what_is_not_known_is_refused_by_name() {
    let [gpu, _] = open_both();
    for golden in golden_family::all().iter().filter(|golden| NOT_YET.contains(&golden.name.as_str())) {
        let error = check(&gpu, golden).unwrap_err();
        assert!(error.contains(&format!("`{}`", golden.name)) && error.contains("llama, "), "{error}");
    }
}

/// Of a mixture's weights a step reads the router and the chosen experts.
#[test]
fn experts_that_are_not_chosen_are_not_read() {
    let [gpu, _] = open_both();
    let golden = golden_family::all().into_iter().find(|golden| golden.name == "qwen3moe").unwrap();
    let engine = load(&gpu, &golden).unwrap();
    let (embedding, hidden, experts, used) = (64, 24, 7, 3);
    let of_experts = |count: u64| 2 * 4 * 3 * embedding * hidden * count;
    let unread = of_experts(experts) - of_experts(used);
    let read = engine.model().bytes_read_per_token(0);
    let all = engine.model().weight_bytes();
    // Beyond the weights, a step reads activations, which are small even beside these; of the embedding it reads a row.
    assert!(read < all - unread, "{read} bytes of {all}, and {unread} belong to experts that are not chosen");
}

#[test]
fn all_families_agree_with_llama_cpp() {
    let wanted = std::env::var("FAMILY").unwrap_or_default();
    let goldens: Vec<Golden> = golden_family::all()
        .into_iter()
        .filter(|golden| golden.name.starts_with(&wanted) && !NOT_YET.contains(&golden.name.as_str()))
        .collect();
    let mut failures = Vec::new();
    for gpu in open_both() {
        for golden in &goldens {
            match check(&gpu, golden) {
                Ok((worst, cosine)) => {
                    println!("| {} | {worst:.1e} | 1 - {:.1e} | {} ids |", golden.name, 1.0 - cosine, golden.greedy.len())
                }
                Err(error) => failures.push(format!("{}: {error}", golden.name)),
            }
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), goldens.len(), failures.join("\n"));
}
