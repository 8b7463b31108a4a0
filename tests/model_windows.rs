//! What tiny models of the goldens show beyond them: caches that are rings, going back in them, experts in several bindings, and files that
//! are refused.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[path = "common/golden_family.rs"]
mod golden_family;
#[path = "common/gpu.rs"]
mod gpu;

use golden_family::{Golden, named};
use gpu::{Random, open, open_both};
use kinglet::engine::{AbortSignal, Engine, Error, GenerateParams, Generation, LoadOptions};
use kinglet::gpu::{Gpu, GpuOptions};
use kinglet::kernels::KvType;
use kinglet::model::ConfigError;
use kinglet::sampling::SamplingParams;
use kinglet::weights::source::MemorySource;
use pollster::block_on;
use serde_json::json;

/// The greatest difference of a logit, as in the goldens' own test.
const TOLERANCE: f64 = 1e-4;

fn try_load(gpu: &Gpu, golden: &Golden, context: u32) -> Result<Engine, Error> {
    let mut source = MemorySource::new("tiny.gguf", golden.file());
    let options = LoadOptions { context: Some(context), kv_type: KvType::F32, ..LoadOptions::default() };
    block_on(Engine::load(gpu.clone(), &mut source, options, &mut |_| {}, &AbortSignal::new()))
}

fn load(gpu: &Gpu, golden: &Golden, context: u32) -> Engine {
    try_load(gpu, golden, context).expect("the tiny model loads")
}

fn ids(random: &mut Random, length: usize) -> Vec<u32> {
    (0..length).map(|_| random.below(99) as u32).collect()
}

fn logits(engine: &mut Engine, ids: &[u32]) -> Vec<Vec<f32>> {
    let mut logits = Vec::new();
    block_on(engine.logits(ids, &mut |_, row| logits.push(row.to_vec()))).expect("logits");
    logits
}

fn answer(engine: &mut Engine, prompt: &[u32], max_tokens: u32) -> Generation {
    let sampling = SamplingParams { temperature: 0.0, repeat_penalty: 1.0, ..Default::default() };
    let params = GenerateParams { max_tokens: Some(max_tokens), sampling, stop: Vec::new(), ignore_eos: true };
    block_on(engine.generate(prompt, &params, &mut |_, _| {}, &AbortSignal::new())).expect("an answer")
}

fn worst(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let worst = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    if a.iter().any(|a| a.is_nan()) { f64::INFINITY } else { worst }
}

/// The greedy ids are those of `rows`, the logits that each was drawn from, wherever these leave no doubt.
fn check_greedy(ids: &[u32], rows: &[Vec<f32>]) {
    assert_eq!(ids.len(), rows.len());
    for (step, (id, row)) in ids.iter().zip(rows).enumerate() {
        let greatest = row.iter().copied().fold(f32::MIN, f32::max);
        let drawn = row[*id as usize];
        assert!(
            f64::from(greatest - drawn) < 2.0 * TOLERANCE,
            "step {step} drew {id} of logit {drawn}, the greatest is {greatest}"
        );
    }
}

/// Where every layer has a window, and positions are relative, a token's logits depend on the last so many tokens only, wherever they stand:
/// a model whose cache is no ring, because its context is so short, gives them too.
#[test]
fn a_ring_holds_all_that_a_window_sees() {
    let golden = named("mistral-window").with("llama.context_length", "u32", json!(2048));
    let ids = ids(&mut Random(1), 600);
    for gpu in open_both() {
        let mut ring = load(&gpu, &golden, 2048);
        let mut whole = load(&gpu, &golden, 128);
        let positions = |engine: &Engine| engine.model().kv_bytes() / (2 * 2 * 4 * 2 * 16);
        assert_eq!((positions(&ring), positions(&whole)), (13 + 256, 128));
        // Two layers of 13 positions reach 24 tokens back.
        let mut last = |ids: &[u32]| logits(&mut whole, &ids[ids.len().saturating_sub(40)..]).pop().expect("logits");

        // In chunks of the scoring's rows.
        for (position, row) in logits(&mut ring, &ids).iter().enumerate().filter(|(i, _)| i % 19 == 0 || (265..272).contains(i)) {
            let off = worst(row, &last(&ids[..=position]));
            assert!(off < TOLERANCE, "position {position}: logits off by {off}");
        }
        // In chunks of 256 rows, then in decode steps that go round the ring, from prompts whose last chunks are of all sizes.
        let lengths = [(300usize, 280), (512, 30), (557, 8)];
        for (length, tokens) in lengths {
            let found = answer(&mut ring, &ids[..length], tokens);
            let whole: Vec<u32> = ids[..length].iter().chain(&found.ids).copied().collect();
            let rows: Vec<Vec<f32>> = (length..length + tokens as usize).step_by(7).map(|end| last(&whole[..end])).collect();
            let drawn: Vec<u32> = found.ids.iter().step_by(7).copied().collect();
            check_greedy(&drawn, &rows);
        }
    }
}

/// Layers with and without windows, of which only the former have rings.
#[test]
fn going_back_in_a_ring_answers_as_if_from_the_beginning() {
    let golden = named("gemma3").with("gemma3.context_length", "u32", json!(2048));
    let mut random = Random(2);
    let first = ids(&mut random, 600);
    let gpu = open();
    let mut engine = load(&gpu, &golden, 2048);
    let mut fresh = load(&gpu, &golden, 2048);
    let begun = answer(&mut engine, &first, 20);
    assert_eq!(begun.ids, answer(&mut fresh, &first, 20).ids);
    // The last of 20 tokens is at position 619, and not yet in the cache.
    let written = 619;
    assert_eq!((engine.model().kept(written - 256), engine.model().kept(written - 257)), (written - 256, 0));

    // What the ring still holds: up to a chunk back from the end of all that was written. Beyond is what was begun anew.
    let back = written - 256;
    let cases = [(598, 5, 598), (back, 9, back), (back, 300, back), (300, 40, 0), (100, 3, 100)];
    for (i, (common, tail, kept)) in cases.into_iter().enumerate() {
        let mut prompt = first[..common].to_vec();
        // Certainly another token than any before.
        prompt.push((first[common] + 1 + i as u32) % 99);
        prompt.extend(ids(&mut random, tail));
        let found = answer(&mut engine, &prompt, 12);
        assert_eq!(found.cached_tokens, kept, "{common} tokens in common");
        // All logits as scored from an empty cache.
        let whole: Vec<u32> = prompt.iter().chain(&found.ids[..11]).copied().collect();
        let rows = logits(&mut fresh, &whole).split_off(prompt.len() - 1);
        check_greedy(&found.ids, &rows);
    }
}

/// Bindings so small that experts are in several.
#[test]
fn experts_in_several_bindings() {
    for (name, binding_bytes) in [("mixtral", 45_000), ("qwen2moe", 40_000), ("granitemoe", 40_000)] {
        let golden = named(name);
        for gpu in open_both() {
            let options = GpuOptions { binding_bytes: Some(binding_bytes), ..GpuOptions::default() };
            let split_gpu = block_on(Gpu::open(options)).expect("a device");
            let (mut whole, mut split) = (load(&gpu, &golden, 96), load(&split_gpu, &golden, 96));
            let [a, b] = [&whole, &split].map(|engine| engine.model().dispatches_per_token(0));
            assert!(a + 4 <= b, "{name}: {a} dispatches, and {b} with split matrices");
            // Wherever the chosen experts are, as many bytes of them are read; what every shard reads of x again is small.
            let [read, read_split] = [&whole, &split].map(|engine| engine.model().bytes_read_per_token(0));
            let experts = whole.model().weight_bytes();
            assert!(
                read_split < read + experts / 20,
                "{name}: {read} bytes read, and {read_split} with split matrices, of {experts}"
            );
            for (a, b) in logits(&mut whole, &golden.prompt).iter().zip(&logits(&mut split, &golden.prompt)) {
                let off = worst(a, b);
                assert!(off < 1e-5, "{name}: logits off by {off}");
            }
            let [a, b] = [&mut whole, &mut split].map(|engine| answer(engine, &golden.prompt, 12).ids);
            assert_eq!(a, b, "{name}");
        }
    }
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let gpu = open();
    let unknown = |key: &str, kind: &str, value: serde_json::Value| match try_load(&gpu, &named("llama").with(key, kind, value), 64)
    {
        Err(Error::Config(ConfigError::UnknownKey { key, .. })) => Some(key),
        Err(error) => panic!("{key}: {error}"),
        Ok(_) => None,
    };
    for (key, kind, value) in [
        ("llama.attention.strange_factor", "f32", json!(0.5)),
        ("llama.strange", "bool", json!(true)),
        ("llama.strange_layers", "u32[]", json!([0, 0])),
    ] {
        assert_eq!(unknown(key, kind, value).as_deref(), Some(key));
    }
    // What says that something is absent needs not be known; other architectures' keys and general ones say nothing about this model.
    for (key, kind, value) in [
        ("llama.attention.strange_factor", "f32", json!(0.0)),
        ("llama.strange", "bool", json!(false)),
        ("llama.strange_count", "u32", json!(0)),
        ("llama.expert_count", "u32", json!(0)),
        ("llama.rope.scaling.finetuned", "bool", json!(true)),
        ("other.strange", "u32", json!(3)),
        ("general.strange", "u32", json!(3)),
    ] {
        assert_eq!(unknown(key, kind, value), None, "{key}");
    }
    // The second is known where a network is not a shared expert.
    for (golden, name, length) in [("llama", "blk.1.attn_strange.weight", 64), ("qwen2moe", "blk.1.ffn_up_shexp.bias", 56)] {
        match try_load(&gpu, &named(golden).with_tensor(name, &[length]), 64) {
            Err(Error::Config(ConfigError::UnknownTensor { tensor, .. })) => assert_eq!(tensor, name),
            other => panic!("{name}: {:?}", other.map(|_| "it loads")),
        }
    }
}

#[test]
fn tensors_of_wrong_sizes_are_refused_by_name() {
    let gpu = open();
    for (golden, name, dims) in [
        ("llama", "blk.1.attn_norm.weight", &[65u64][..]),
        ("llama", "output_norm.weight", &[64, 2]),
        ("gemma3", "blk.2.attn_q_norm.weight", &[24]),
        ("gemma3", "blk.2.post_ffw_norm.weight", &[32]),
        ("gpt2", "blk.0.ffn_norm.bias", &[60]),
        ("mixtral", "blk.0.ffn_down_exps.weight", &[40, 64, 6]),
        ("mixtral", "blk.1.ffn_gate_inp.weight", &[64, 4]),
    ] {
        match try_load(&gpu, &named(golden).with_tensor(name, dims), 64) {
            Err(Error::Config(ConfigError::WrongShape { tensor, found, .. })) => assert_eq!((&*tensor, &*found), (name, dims)),
            other => panic!("{name}: {:?}", other.map(|_| "it loads")),
        }
    }
}

/// What a family cannot do without is missed by name, rather than left out.
#[test]
fn tensors_that_are_missing_are_named() {
    let gpu = open();
    for (golden, tensor, context) in [
        ("gpt2", "position_embd.weight", 64),
        ("starcoder", "position_embd.weight", 64),
        ("phi3-longrope", "rope_factors_short.weight", 64),
        ("llama", "blk.1.ffn_gate.weight", 64),
        ("llama", "blk.0.ffn_norm.weight", 64),
        ("gemma2", "blk.0.attn_k.weight", 64),
        ("mixtral", "blk.1.ffn_down_exps.weight", 64),
    ] {
        match try_load(&gpu, &named(golden).without_tensor(tensor), context) {
            Err(Error::Config(ConfigError::MissingTensor { tensor: missing, .. })) => {
                assert_eq!(missing, tensor, "{golden}");
            }
            Err(error) => panic!("{golden} without {tensor}: {error:?}"),
            Ok(_) => panic!("{golden} loads without {tensor}"),
        }
    }
}
