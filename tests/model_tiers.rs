//! The default model's golden answers in every tier that the adapter can run. Tests whose names begin with `short` are those that a
//! very slow adapter has time for.

#[path = "common/golden_run.rs"]
mod golden_run;
#[path = "common/models.rs"]
mod models;

use golden_run::{Run, generate, greedy, last_logits, load};
use kinglet::engine::{Engine, LoadOptions};
use kinglet::gpu::{AdapterChoice, Capabilities, Gpu, GpuError, GpuOptions, Tier};
use kinglet::kernels::{KvType, MatmulVariant, MatvecVariant, Tiling, Variants};
use kinglet::model::{TunedBy, Tuning, TuningOptions};
use kinglet::sampling::SamplingParams;
use pollster::block_on;
use serde::Deserialize;

const MODEL: &str = "smollm2-135m";

/// Tiers whose arithmetic is the golden's: A+ may round inputs to 8 bits.
const EXACT: [Tier; 3] = [Tier::A, Tier::B, Tier::C];

#[derive(Deserialize)]
struct Golden {
    runs: Runs,
}

#[derive(Deserialize)]
struct Runs {
    plain: Run,
    chat: Run,
}

fn golden() -> Runs {
    serde_json::from_str::<Golden>(include_str!("golden/smollm2.json")).expect("the golden file is JSON of this form").runs
}

fn open(tier: Option<Tier>) -> Result<Gpu, GpuError> {
    block_on(Gpu::open(GpuOptions { adapter: AdapterChoice { name: None, tier }, ..GpuOptions::default() }))
}

/// The adapter as `tier`; `None` where it lacks something. As no tier at all it is opened only if none of [`EXACT`] is the same: at tier C
/// subgroups are used where they are, unless C is forced.
fn device(tier: Option<Tier>) -> Option<Gpu> {
    let gpu = match open(tier) {
        Err(GpuError::TierUnavailable { missing, .. }) => {
            eprintln!("skipped: no {missing} here");
            return None;
        }
        gpu => gpu.expect("a Vulkan adapter (cargo xtask setup installs lavapipe)"),
    };
    let same = |other: Tier| open(Some(other)).is_ok_and(|other| other.capabilities() == gpu.capabilities());
    if tier.is_none() && (gpu.capabilities().int8_dot || EXACT.into_iter().any(same)) {
        eprintln!("skipped: what this adapter has is a tier of the others");
        return None;
    }
    Some(gpu)
}

fn engine(gpu: &Gpu, kv_type: KvType) -> Option<Engine> {
    Some(load(gpu.clone(), &models::path(MODEL)?, LoadOptions { context: Some(512), kv_type, ..LoadOptions::default() }))
}

fn name(run: &str, gpu: &Gpu) -> String {
    let subgroups = if gpu.capabilities().subgroups { "with" } else { "without" };
    format!("{run}, tier {} {subgroups} subgroups", gpu.info().tier)
}

/// Twice the same ids of one seed, and other ones of another.
fn check_seed(engine: &mut Engine, prompt: &[u32], count: usize, name: &str) {
    let mut draw = |seed| generate(engine, prompt, count, SamplingParams { temperature: 0.8, seed, ..Default::default() });
    let first = draw(1);
    assert_eq!(draw(1), first, "{name}");
    assert_ne!(draw(2), first, "{name}");
}

/// Both golden prompts in full, with keys and values in f32 and in f16.
fn check(tier: Option<Tier>) {
    let Some(gpu) = device(tier) else { return };
    let golden = golden();
    let Some(mut engine) = engine(&gpu, KvType::F32) else { return };
    golden.plain.check_f32(&mut engine, &name("plain", &gpu));
    golden.chat.check_f32(&mut engine, &name("chat", &gpu));
    drop(engine);
    let Some(mut engine) = self::engine(&gpu, KvType::F16) else { return };
    golden.plain.check_f16(&mut engine, &name("plain", &gpu));
    golden.chat.check_f16(&mut engine, &name("chat", &gpu));
    check_seed(&mut engine, &golden.plain.prompt_ids, 24, &name("plain", &gpu));
    gpu.check().expect("nothing was rejected");
}

#[test]
fn tier_a() {
    check(Some(Tier::A));
}

#[test]
fn tier_b() {
    check(Some(Tier::B));
}

#[test]
fn tier_c() {
    check(Some(Tier::C));
}

#[test]
fn what_no_tier_names() {
    check(None);
}

/// A prompt's logits and a few ids, greedy and drawn.
#[test]
fn short_answers_of_every_tier() {
    let plain = golden().plain;
    for tier in EXACT.map(Some).into_iter().chain([None]) {
        let Some(gpu) = device(tier) else { continue };
        let name = name("plain", &gpu);
        let Some(mut engine) = engine(&gpu, KvType::F32) else { return };
        let off = plain.difference(&last_logits(&mut engine, &plain.prompt_ids));
        eprintln!("{name}, f32 KV: logits off by {off:.1e}");
        assert!(off <= 2e-3, "{name}: logits off by {off}");
        assert_eq!(generate(&mut engine, &plain.prompt_ids, 3, greedy()), plain.greedy_ids[..3], "{name}");
        check_seed(&mut engine, &plain.prompt_ids, 3, &name);
        gpu.check().expect("nothing was rejected");
    }
}

/// Variants that self-tuning may choose, all of f32.
fn variants() -> Vec<Variants> {
    let matvec = |workgroup, spread| MatvecVariant { workgroup, spread, ..MatvecVariant::default() };
    let matmul = |tiling| MatmulVariant { tiling, ..MatmulVariant::default() };
    let rows = |lanes| matmul(Tiling::Rows { lanes });
    let pairs = [
        (matvec(32, 1), matmul(Tiling::Shared)),
        (matvec(64, 2), rows(4)),
        (matvec(64, 4), rows(4)),
        (matvec(128, 2), matmul(Tiling::Shared)),
        (matvec(256, 4), rows(4)),
        (matvec(128, 0), matmul(Tiling::Shared)),
    ];
    pairs.into_iter().map(|(matvec, matmul)| Variants { matvec, matmul }).collect()
}

/// What is stored is taken without a measurement.
fn stored(start: Variants) -> TuningOptions {
    TuningOptions { stored: Some(Tuning { start, ..Tuning::default() }), ..TuningOptions::default() }
}

/// The same answers whatever self-tuning chose.
#[test]
fn short_answers_of_every_variant() {
    let plain = golden().plain;
    let gpu = open(None).expect("a Vulkan adapter");
    let Some(path) = models::path(MODEL) else { return };
    for start in variants() {
        let options = LoadOptions { context: Some(512), kv_type: KvType::F32, tuning: stored(start) };
        let mut engine = load(gpu.clone(), &path, options);
        assert_eq!((engine.model().tuned_by(), engine.model().tuning().start), (TunedBy::Stored, start));
        let off = plain.difference(&last_logits(&mut engine, &plain.prompt_ids));
        assert!(off <= 2e-3, "{start:?}: logits off by {off}");
        assert_eq!(generate(&mut engine, &plain.prompt_ids, 3, greedy()), plain.greedy_ids[..3], "{start:?}");
    }
}

#[test]
fn short_every_tier_is_had_or_refused() {
    let own = open(None).expect("a Vulkan adapter").capabilities();
    for tier in Tier::ALL {
        let wanted = Capabilities { f16: tier >= Tier::B, subgroups: tier >= Tier::A, int8_dot: tier == Tier::APlus };
        match open(Some(tier)) {
            Ok(gpu) => assert_eq!((gpu.capabilities(), gpu.info().tier.as_str()), (wanted, tier.name())),
            Err(GpuError::TierUnavailable { tier: refused, missing, .. }) => {
                assert_eq!(refused, tier.name());
                assert_eq!(missing.contains("shader-f16"), wanted.f16 && !own.f16, "{missing}");
                assert_eq!(missing.contains("subgroups"), wanted.subgroups && !own.subgroups, "{missing}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(own.tier() >= Tier::C && open(Some(own.tier())).is_ok());
}
