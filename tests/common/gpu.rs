//! Opening the device under test and running one kernel on it.

#![allow(dead_code, unused_imports, reason = "every test uses its own part")]

use kinglet::gpu::{AdapterChoice, Binding, Buffer, Dispatch, Gpu, GpuOptions, Plan, Span, Tier};
use kinglet::kernels::Tiling;

#[cfg(not(target_arch = "wasm32"))]
/// The device under test: the first adapter that the environment offers (`VK_ICD_FILENAMES` chooses the driver).
pub fn open() -> Gpu {
    let gpu = pollster::block_on(Gpu::open(GpuOptions::default())).expect("a Vulkan adapter (cargo xtask setup installs lavapipe)");
    // A stage that is about subgroups of one size says so.
    if let Ok(size) = std::env::var("KINGLET_SUBGROUPS") {
        let size = size.parse().expect("a number of invocations");
        assert_eq!(gpu.info().subgroup_sizes, Some([size, size]), "{}", gpu.info().name);
    }
    gpu
}

#[cfg(not(target_arch = "wasm32"))]
/// The device with its own features, and again as tier C, so that both reductions are covered.
pub fn open_both() -> [Gpu; 2] {
    let plain = AdapterChoice { name: None, tier: Some(Tier::C) };
    [open(), pollster::block_on(Gpu::open(GpuOptions { adapter: plain, ..GpuOptions::default() })).expect("tier C")]
}

#[cfg(not(target_arch = "wasm32"))]
/// Runs one dispatch and returns the `f32` contents of `output`.
pub fn run(gpu: &Gpu, dispatch: &Dispatch, bindings: &[Binding], span: Span, output: &Buffer) -> Vec<f32> {
    let mut plan = Plan::default();
    plan.push(gpu, dispatch, bindings);
    gpu.run(&plan, span);
    download(gpu, output)
}

#[cfg(not(target_arch = "wasm32"))]
/// The contents of a buffer as numbers.
pub fn download<T: bytemuck::Pod>(gpu: &Gpu, buffer: &Buffer) -> Vec<T> {
    pollster::block_on(gpu.download(buffer, 0..buffer.size())).expect("the device works")
}

/// All ways in which this device can share what many rows use.
pub fn tilings(gpu: &Gpu) -> Vec<Tiling> {
    let least_subgroup = gpu.info().subgroup_sizes.map_or(0, |[least, _]| least);
    let rows = [4, 8].into_iter().filter(|lanes| *lanes <= least_subgroup).map(|lanes| Tiling::Rows { lanes });
    [Tiling::Shared].into_iter().chain(rows).collect()
}

/// A small deterministic generator (SplitMix64), so that every failure can be repeated.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in -1..1.
    pub fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Uniform in 0..n.
    pub fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    /// `n` values in -1..1.
    pub fn vector(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.signed()).collect()
    }
}

/// The largest difference, relative to the reference's own size.
pub fn worst(actual: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let size = expected.iter().fold(1e-30f64, |size, x| size.max(x.abs()));
    actual.iter().zip(expected).fold(0.0, |worst: f64, (a, e)| {
        let difference = (f64::from(*a) - e).abs() / size;
        if difference.is_nan() { f64::INFINITY } else { worst.max(difference) }
    })
}
