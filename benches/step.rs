//! What a decode step costs the CPU: encoding and submitting it, and asking for its token. What the GPU does meanwhile is not counted: every
//! step is waited for before the next is timed.
//!
//! The cost depends on the number of dispatches and not on sizes, so that the model is a random one with as many layers as SmolLM2-135M and tiny
//! matrices.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kinglet::engine::{AbortSignal, Engine, LoadOptions};
use kinglet::gpu::{Gpu, GpuOptions};
use kinglet::sampling::SamplingParams;
use kinglet::weights::source::MemorySource;
use pollster::block_on;
use std::time::{Duration, Instant};

#[path = "../tests/common/ggufwriter.rs"]
mod ggufwriter;
#[path = "../tests/common/gpu.rs"]
mod gpu;
#[allow(dead_code, reason = "only its type of weights is used here")]
#[path = "../tests/common/reference.rs"]
mod reference;
#[path = "../tests/common/tiny.rs"]
mod tiny;
#[path = "../tests/common/weights.rs"]
mod weights;

/// Layers of SmolLM2-135M.
const LAYERS: u32 = 30;

fn engine() -> Option<Engine> {
    let gpu = match block_on(Gpu::open(GpuOptions::default())) {
        Ok(gpu) => gpu,
        Err(error) => {
            eprintln!("not measured: {error}");
            return None;
        }
    };
    let (bytes, _) = tiny::Tiny { layers: LAYERS, ..tiny::Tiny::default() }.build(1);
    let mut source = MemorySource::new("tiny.gguf", bytes);
    let engine = block_on(Engine::load(gpu, &mut source, LoadOptions::default(), &mut |_| {}, &AbortSignal::new()));
    Some(engine.expect("the tiny model loads"))
}

fn benches(criterion: &mut Criterion) {
    let Some(mut engine) = engine() else { return };
    let context = engine.context();
    let model = engine.model_mut();
    let mut position = 0;
    let mut group = criterion.benchmark_group("decode step");
    group.throughput(Throughput::Elements(model.dispatches_per_token(0) as u64));
    group.bench_function("encode and submit", |bencher| {
        bencher.iter_custom(|steps| {
            let mut spent = Duration::ZERO;
            for _ in 0..steps {
                if position == 0 || position == context {
                    model.begin(&SamplingParams::greedy(), &[0]);
                    let first = model.prefill_and_draw(&[0], 0);
                    block_on(model.token(first)).expect("the device works");
                    position = 1;
                }
                let start = Instant::now();
                let pending = model.decode(position);
                spent += start.elapsed();
                block_on(model.token(pending)).expect("the device works");
                position += 1;
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(step, benches);
criterion_main!(step);
