//! A device that goes away in mid-answer: a typed error at once, and a new device works.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[path = "common/gpu.rs"]
mod gpu;
#[allow(dead_code, reason = "only its type of weights is used here")]
#[path = "common/reference.rs"]
mod reference;
#[path = "common/tiny.rs"]
mod tiny;
#[path = "common/weights.rs"]
mod weights;

use kinglet::engine::{AbortSignal, Engine, Error, GenerateParams, LoadOptions};
use kinglet::gpu::{Gpu, GpuError};
use kinglet::sampling::SamplingParams;
use kinglet::weights::source::MemorySource;
use pollster::block_on;
use std::sync::mpsc;
use std::time::Duration;
use tiny::Tiny;

fn load(gpu: Gpu) -> Result<Engine, Error> {
    let mut source = MemorySource::new("tiny.gguf", Tiny::default().build(7).0);
    block_on(Engine::load(gpu, &mut source, LoadOptions::default(), &mut |_| {}, &AbortSignal::new()))
}

/// Runs `test` and fails if it is not over in time: waiting for ever is what a lost device leads to if nobody looks.
fn within(limit: Duration, test: impl FnOnce() + Send + 'static) {
    let (done, over) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    let outcome = over.recv_timeout(limit);
    assert!(outcome != Err(mpsc::RecvTimeoutError::Timeout), "not over within {limit:?}");
    thread.join().expect("the test passes");
}

#[test]
fn an_answer_ends_with_an_error_when_the_device_is_lost() {
    within(Duration::from_secs(120), || {
        let gpu = gpu::open();
        let mut engine = load(gpu.clone()).expect("the tiny model loads");
        let sampling = SamplingParams::greedy();
        let params = GenerateParams { max_tokens: Some(40), sampling, stop: Vec::new(), ignore_eos: true };
        let mut drawn = 0;
        let mut on_token = |_: &str, _| {
            drawn += 1;
            if drawn == 5 {
                gpu.destroy();
            }
        };
        let lost = |error: &Error| matches!(error, Error::Gpu(GpuError::DeviceLost { .. }));
        let error = block_on(engine.generate(&[1, 2, 3], &params, &mut on_token, &AbortSignal::new())).expect_err("a lost device");
        assert!(lost(&error), "{error:?}");
        // Steps that were on their way may still have come back.
        assert!((5..=8).contains(&drawn), "{drawn} tokens");
        assert!(gpu.check().is_err());
        let again = block_on(engine.generate(&[1, 2, 3], &params, &mut |_, _| {}, &AbortSignal::new())).expect_err("still lost");
        assert!(lost(&again), "{again:?}");
        let logits = block_on(engine.logits(&[1, 2, 3], &mut |_, _| {})).expect_err("still lost");
        assert!(lost(&logits), "{logits:?}");
        let load_again = load(gpu).expect_err("still lost");
        assert!(matches!(load_again.name(), "DeviceLostError"), "{load_again:?}");

        let mut fresh = load(gpu::open()).expect("a new device works");
        block_on(fresh.generate(&[1, 2, 3], &params, &mut |_, _| {}, &AbortSignal::new())).expect("an answer");
    });
}
