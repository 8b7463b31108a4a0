//! Real Q4_K_M files of other families (Q4_K, Q5_0, Q6_K and Q8_0 inside) against llama.cpp with f32 weights, activations and KV cache.
//! They come in packages of others, which may vanish: a model that is not in the cache is skipped with a message.

#[path = "common/golden_run.rs"]
mod golden_run;
#[path = "common/models.rs"]
mod models;

use golden_run::{Run, generate, greedy, last_logits};
use kinglet::engine::{AbortSignal, Engine, LoadOptions};
use kinglet::gpu::{Gpu, GpuOptions};
use kinglet::kernels::KvType;
use kinglet::text::Encode;
use kinglet::weights::source::FileSource;
use pollster::block_on;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Golden {
    runs: BTreeMap<String, Run>,
}

/// Logits of each prompt's last position, and up to `steps` greedy ids; the engine, if there is the model.
fn check(model: &str, golden: &str, steps: usize) -> Option<Engine> {
    let path = models::optional(model)?;
    let mut source = FileSource::open(path).expect("the file opens");
    let gpu = block_on(Gpu::open(GpuOptions::default())).expect("a Vulkan adapter (cargo xtask setup installs lavapipe)");
    let options = LoadOptions { context: Some(1024), kv_type: KvType::F32, ..LoadOptions::default() };
    let mut engine = block_on(Engine::load(gpu, &mut source, options, &mut |_| {}, &AbortSignal::new())).expect("the model loads");
    let golden: Golden = serde_json::from_str(golden).expect("the golden file is JSON of this form");
    for (name, run) in &golden.runs {
        let special = run.messages.is_some();
        let encode = Encode { parse_special: special, ..Encode::default() };
        assert_eq!(engine.tokenizer().encode(&run.prompt, encode).expect("ids"), run.prompt_ids, "{model}, {name}");
        let off = run.difference(&last_logits(&mut engine, &run.prompt_ids));
        eprintln!("{model}, {name}: logits off by {off:.1e}");
        assert!(off <= 5e-3, "{model}, {name}: logits off by {off}");
        let steps = run.certain_steps(1e-2).min(steps);
        assert_eq!(generate(&mut engine, &run.prompt_ids, steps, greedy()), run.greedy_ids[..steps], "{model}, {name}");
    }
    Some(engine)
}

/// Biases of q, k and v, half-split RoPE, an LM head of its own that needs more than one binding; chat and plain text. Half of the layers store
/// q and k in Q5_0 and v in Q8_0, which holds them: one dispatch nevertheless.
#[test]
fn qwen2_5_coder_0_5b() {
    let engine = check("qwen2.5-coder-0.5b", include_str!("golden/qwen2.5-coder-0.5b.json"), 12);
    let Some(engine) = engine else { return };
    assert_eq!([0, 1000].map(|position| engine.model().dispatches_of_blocks(position)), [5 * 24, 6 * 24]);
}

/// Norms of heads and behind halves, two RoPE bases, and a prompt of 580 tokens beyond the window of 512.
#[test]
fn gemma_3_270m() {
    check("gemma3-270m", include_str!("golden/gemma3-270m.json"), 12);
}
