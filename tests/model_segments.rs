//! KV caches that grow: tiny models on devices that bind so little that a segment has 256 positions, against the same models with one segment.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[path = "common/golden_family.rs"]
mod golden_family;
#[path = "common/gpu.rs"]
mod gpu;

use golden_family::{Golden, named};
use gpu::{Random, open_both};
use kinglet::engine::{AbortSignal, Engine, Error, FinishReason, GenerateParams, Generation, LoadOptions};
use kinglet::gpu::{Gpu, GpuError, GpuOptions};
use kinglet::kernels::KvType;
use kinglet::sampling::SamplingParams;
use kinglet::weights::source::MemorySource;
use pollster::block_on;
use serde_json::json;

const SEGMENT: u32 = 256;
const CONTEXT: u32 = 800;

fn golden(name: &str) -> Golden {
    named(name).with(&format!("{name}.context_length"), "u32", json!(2048))
}

fn load(gpu: &Gpu, golden: &Golden, kv_type: KvType) -> Engine {
    let mut source = MemorySource::new("tiny.gguf", golden.file());
    let options = LoadOptions { context: Some(CONTEXT), kv_type, ..LoadOptions::default() };
    block_on(Engine::load(gpu.clone(), &mut source, options, &mut |_| {}, &AbortSignal::new())).expect("the tiny model loads")
}

/// A device that binds keys of more than a segment at once, and of less than two.
fn small(model: &Engine, memory_bytes: Option<u64>) -> Gpu {
    let config = model.config();
    let binding_bytes = Some(model.model().kv_type().bytes(300, config.kv_heads, config.head_dim));
    let options = GpuOptions { binding_bytes, memory_bytes, ..GpuOptions::default() };
    block_on(Gpu::open(options)).expect("a device")
}

fn ids(random: &mut Random, length: usize) -> Vec<u32> {
    (0..length).map(|_| random.below(97) as u32).collect()
}

/// Of the last `count` positions.
fn logits(engine: &mut Engine, ids: &[u32], count: usize) -> Vec<Vec<f32>> {
    let mut logits = Vec::new();
    block_on(engine.last_logits(ids, count, &mut |_, row| logits.push(row.to_vec()))).expect("logits");
    logits
}

fn answer(engine: &mut Engine, prompt: &[u32], max_tokens: u32) -> Result<Generation, Error> {
    let sampling = SamplingParams { temperature: 0.0, repeat_penalty: 1.0, ..Default::default() };
    let params = GenerateParams { max_tokens: Some(max_tokens), sampling, stop: Vec::new(), ignore_eos: true };
    block_on(engine.generate(prompt, &params, &mut |_, _| {}, &AbortSignal::new()))
}

/// Layers with and without windows, ALiBi, and caches in blocks; every chunk, and decode over the borders.
#[test]
fn segments_answer_as_one_buffer_does() {
    let mut random = Random(51);
    for (gpu, cases) in open_both().into_iter().zip([["gemma3", "llama"], ["bloom", "qwen3"]]) {
        for (name, kv_type) in cases.into_iter().zip([KvType::F32, KvType::F16]) {
            let golden = golden(name);
            // Sums in another order; in f16 they can make a key or value round otherwise, by 2^-11 of it.
            let tolerance = if kv_type == KvType::F32 { 5e-5 } else { 2e-3 };
            let mut whole = load(&gpu, &golden, kv_type);
            let mut grown = load(&small(&whole, None), &golden, kv_type);
            assert_eq!((whole.model().reserved(), grown.model().reserved()), (CONTEXT, SEGMENT));
            let [before, all] = [&grown, &whole].map(|engine| engine.model().kv_bytes());
            assert!(before < all, "{name}: {before} bytes of {all}");

            // Prompts whose chunks end at borders and beyond them, then steps over a border; each goes on from what is there.
            let text = ids(&mut random, CONTEXT as usize);
            for (length, tokens) in [(200, 100), (300, 10), (505, 20), (768, 3), (700, 100)] {
                let before_this = grown.model().reserved();
                let found = answer(&mut grown, &text[..length], tokens).expect("an answer");
                let reached = length as u32 + tokens - 1;
                assert_eq!(
                    grown.model().reserved(),
                    reached.next_multiple_of(SEGMENT).min(CONTEXT).max(before_this),
                    "{name}, {length} + {tokens}"
                );
                let written: Vec<u32> = text[..length].iter().chain(&found.ids[..tokens as usize - 1]).copied().collect();
                let rows = logits(&mut whole, &written, found.ids.len());
                for (step, (id, row)) in found.ids.iter().zip(&rows).enumerate() {
                    let greatest = row.iter().copied().fold(f32::MIN, f32::max);
                    let below: f32 = greatest - row[*id as usize];
                    assert!(
                        below < 2.0 * tolerance,
                        "{name}, {length} tokens and {step}: {id} is {below} below the greatest logit"
                    );
                }
            }
            assert_eq!(grown.model().kv_bytes(), all, "{name}: what has grown is no more than what is made at once");
            // One dispatch more a segment and layer that attends to all.
            let [one, four] = [SEGMENT - 1, CONTEXT - 1].map(|position| grown.model().dispatches_of_blocks(position));
            let layers = (0..grown.config().layers).filter(|layer| grown.config().window_of(*layer) == 0).count();
            assert_eq!(four, one + 3 * layers, "{name}");
            let [a, b] = [&mut grown, &mut whole].map(|engine| logits(engine, &text, text.len() - 240));
            for (position, (a, b)) in a.iter().zip(&b).enumerate() {
                let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off < tolerance, "{name}, position {}: logits off by {off}", position + 240);
            }
        }
    }
}

/// A device that has no room for a second segment.
#[test]
fn lack_of_memory_ends_an_answer_and_nothing_else() {
    let mut random = Random(52);
    let golden = golden("llama");
    let limit = 64 << 20;
    let gpu = small(&load(&open_both()[0], &golden, KvType::F32), Some(limit));
    let mut engine = load(&gpu, &golden, KvType::F32);
    let filler = gpu.buffer("filler", limit - gpu.memory().current - 100_000).expect("so much is there");
    let text = ids(&mut random, 700);
    let used = gpu.memory();

    // What is drawn from the last position that there is room for is the last token.
    let cut = answer(&mut engine, &text[..250], 100).expect("an answer");
    assert_eq!((cut.finish_reason, cut.ids.len()), (FinishReason::Length, (SEGMENT - 250 + 1) as usize));
    // A prompt that has no room is refused before anything runs or is forgotten.
    match answer(&mut engine, &text.iter().rev().copied().collect::<Vec<_>>(), 5) {
        Err(Error::Gpu(GpuError::OutOfMemory { in_use })) => assert_eq!(in_use, used.current),
        other => panic!("{other:?}"),
    }
    assert_eq!((engine.model().reserved(), engine.room(), gpu.memory().current), (SEGMENT, SEGMENT, used.current));
    let again = answer(&mut engine, &text[..250], 100).expect("an answer");
    assert_eq!((again.ids, again.cached_tokens), (cut.ids.clone(), 249));

    // One segment more would fit, and not a second: it does not stay.
    drop(filler);
    let segment = engine.model().kv_bytes();
    let filler = gpu.buffer("filler", limit - gpu.memory().current - segment - segment / 2).expect("so much is there");
    let used = gpu.memory().current;
    answer(&mut engine, &[&text[..], &text[..90]].concat(), 5).expect_err("there is no room");
    assert_eq!((engine.model().reserved(), engine.room(), gpu.memory().current), (SEGMENT, SEGMENT, used));

    // With room again it goes on from there.
    drop(filler);
    let whole = answer(&mut engine, &text[..250], 100).expect("an answer");
    assert_eq!((whole.finish_reason, &whole.ids[..cut.ids.len()]), (FinishReason::Length, &cut.ids[..]));
    assert_eq!((whole.ids.len(), engine.model().reserved(), engine.room()), (100, 2 * SEGMENT, CONTEXT));
    answer(&mut engine, &text, 5).expect("an answer");
}
