//! Recordings hold what a plan holds, and change nothing of what it computes.

#[path = "common/gpu.rs"]
mod common;

use common::{Random, download};
use kinglet::gpu::{Binding, Gpu, GpuError, GpuOptions, Plan, Ran, Span};
use kinglet::kernels::{Activation, Gated, Norm, NormKind, NormTarget};
use pollster::block_on;

const SPAN: Span = Span { position: 0, rows: 3 };
const K: u32 = 64;

/// SwiGLU and then a norm of it, `times` over; what was recorded and what came out.
fn run(gpu: &Gpu, times: usize, recorded: bool) -> (Vec<Vec<Ran>>, Plan, Vec<f32>) {
    let mut random = Random(3);
    let x = gpu.upload("x", &random.vector((2 * K * SPAN.rows) as usize)).unwrap();
    let weight = gpu.upload("weight", &random.vector(K as usize)).unwrap();
    let [hidden, y] = ["hidden", "y"].map(|label| gpu.buffer(label, u64::from(4 * K * SPAN.rows)).unwrap());
    let mut plan = Plan::default();
    for _ in 0..times {
        plan.push(
            gpu,
            &Gated { activation: Activation::Silu, k: K, x_stride: 2 * K, up_first: K }.dispatch(),
            &[&x, &hidden].map(Binding::from),
        );
        let norm =
            Norm { kind: NormKind::Rms, k: K, epsilon: 1e-5, bias: false, target: NormTarget::Rows, workgroup: Norm::ONE_ROW };
        plan.push(gpu, &norm.dispatch(gpu.capabilities()), &[&hidden, &weight, &y].map(Binding::from));
    }
    if recorded {
        gpu.start_recording();
    }
    gpu.run(&plan, SPAN);
    let ran = block_on(gpu.finish_recording()).unwrap();
    (ran, plan, download(gpu, &y))
}

#[test]
fn a_recording_is_the_plan() {
    let plain = common::open();
    let profiled = block_on(Gpu::open(GpuOptions { profile: true, ..GpuOptions::default() })).expect("timestamp queries");
    let (nothing, _, expected) = run(&plain, 2, false);
    assert!(nothing.is_empty());
    for (gpu, timed) in [(&plain, false), (&profiled, true)] {
        let (recorded, plan, y) = run(gpu, 2, true);
        assert_eq!(y, expected);
        let [ran] = &recorded[..] else { panic!("{} submits", recorded.len()) };
        assert_eq!(ran.iter().map(|ran| ran.pipeline.name()).collect::<Vec<_>>(), plan.names().collect::<Vec<_>>());
        assert_eq!(ran.iter().map(|ran| ran.bytes).sum::<u64>(), plan.bytes_read(SPAN));
        assert_eq!(ran[1].bindings, [4 * 64 * 3, 4 * 64, 4 * 64 * 3]);
        assert_eq!(ran[1].groups, [1, 3, 1]);
        assert!(ran[1].pipeline.constants().starts_with("K=64 EPSILON="), "{}", ran[1].pipeline.constants());
        assert!(ran.iter().all(|ran| ran.time.is_some() == timed), "{ran:?}");
    }
}

/// Query sets are of a limited size.
#[test]
fn a_long_plan_is_timed_to_its_end() {
    let gpu = block_on(Gpu::open(GpuOptions { profile: true, ..GpuOptions::default() })).expect("timestamp queries");
    let (recorded, plan, _) = run(&gpu, 1100, true);
    assert_eq!(recorded[0].len(), plan.len());
    assert!(plan.len() > 2048);
    assert!(recorded[0].iter().all(|ran| ran.time.is_some()));
    let last = &recorded[0][2048..];
    assert!(last.iter().map(|ran| ran.time.unwrap().as_nanos()).sum::<u128>() > 0, "{last:?}");
}

#[test]
fn the_error_without_timestamps_says_what_to_do() {
    let error = GpuError::NoTimestamps { adapter: "Tamagotchi".into() }.to_string();
    assert!(error.contains("Tamagotchi") && error.contains("--profile"), "{error}");
}
