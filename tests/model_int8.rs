//! What rounding inputs of products to 8 bits costs: divergence from the exact path on the default model.

#[path = "common/divergence.rs"]
#[allow(dead_code, reason = "only its ids are wanted here")]
mod divergence;
#[path = "common/golden_run.rs"]
mod golden_run;
#[path = "common/models.rs"]
mod models;

use divergence::Reference;
use golden_run::{generate, greedy, load};
use kinglet::engine::{Engine, LoadOptions};
use kinglet::gpu::{AdapterChoice, Gpu, GpuOptions, Tier};
use kinglet::kernels::{Arithmetic, KvType, Variants};
use kinglet::model::{Tuning, TuningOptions};
use pollster::block_on;

/// With products of 8 bits for one row, for many, or for both.
fn engine(matvec: Arithmetic, matmul: Arithmetic) -> Option<Engine> {
    let mut start = Variants::default();
    (start.matvec.arithmetic, start.matmul.arithmetic) = (matvec, matmul);
    let stored = Some(Tuning { start, ..Tuning::default() });
    let tuning = TuningOptions { stored, ..TuningOptions::default() };
    // Without A+ a device is not believed to have products of 8 bits.
    let adapter = AdapterChoice { name: None, tier: Some(Tier::APlus) };
    let gpu =
        block_on(Gpu::open(GpuOptions { adapter, ..GpuOptions::default() })).expect("lavapipe (cargo xtask setup installs it)");
    Some(load(gpu, &models::path("smollm2-135m")?, LoadOptions { context: Some(768), kv_type: KvType::F32, tuning }))
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let most = row.iter().fold(f64::NEG_INFINITY, |most, x| most.max(f64::from(*x)));
    let sum: f64 = row.iter().map(|x| (f64::from(*x) - most).exp()).sum();
    row.iter().map(|x| f64::from(*x) - most - sum.ln()).collect()
}

/// KL(exact || other) in nats over the whole vocabulary.
fn divergence(exact: &[f32], other: &[f32]) -> f64 {
    log_softmax(exact).iter().zip(log_softmax(other)).map(|(p, q)| p.exp() * (p - q)).sum()
}

#[test]
fn divergence_over_512_positions() {
    let reference = Reference::parse(include_bytes!("golden/smollm2-kl.bin"));
    let rows = |arithmetic| {
        let mut engine = engine(arithmetic, arithmetic)?;
        let mut all: Vec<Vec<f32>> = Vec::new();
        block_on(engine.logits(&reference.ids, &mut |_, row| all.push(row.to_vec()))).expect("logits");
        Some(all)
    };
    let (Some(exact), Some(int8)) = (rows(Arithmetic::F32), rows(Arithmetic::Int8)) else { return };
    assert_eq!((exact.len(), int8.len()), (512, 512));
    let all: Vec<f64> = exact.iter().zip(&int8).map(|(exact, int8)| divergence(exact, int8)).collect();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    eprintln!("KL(exact || 8 bits): {mean:.2e} nats on average, {:.2e} at most", all.iter().copied().fold(0.0, f64::max));
    // Not the same computation in disguise.
    assert!(mean > 1e-6, "{mean}");
    assert!(mean < 5e-3, "{mean}");
}

/// Decode steps of 8 bits behind an exact prompt: the exact path's likeliest ids, as far as it has no doubt of them.
#[test]
fn decode_agrees_where_there_is_no_doubt() {
    const CERTAIN: f32 = 1.0;
    let prompt: Vec<u32> = Reference::parse(include_bytes!("golden/smollm2-kl.bin")).ids[..256].to_vec();
    let Some(mut exact) = engine(Arithmetic::F32, Arithmetic::F32) else { return };
    let ids = generate(&mut exact, &prompt, 48, greedy());
    let mut margins = Vec::new();
    let walk = [&prompt[..], &ids].concat();
    block_on(exact.last_logits(&walk, ids.len() + 1, &mut |_, row| {
        let mut two = [f32::NEG_INFINITY; 2];
        row.iter().for_each(|x| match *x {
            x if x > two[0] => two = [x, two[0]],
            x if x > two[1] => two[1] = x,
            _ => {}
        });
        margins.push(two[0] - two[1]);
    }))
    .expect("logits");
    drop(exact);
    let Some(mut int8) = engine(Arithmetic::Int8, Arithmetic::F32) else { return };
    let other = generate(&mut int8, &prompt, ids.len(), greedy());
    let same = ids.iter().zip(&other).take_while(|(a, b)| a == b).count();
    eprintln!("{same} of {} ids are the same", ids.len());
    assert!(same == ids.len() || margins[same] < CERTAIN, "another id at step {same}, where the margin is {}", margins[same]);
    assert!(same > 0);
}
