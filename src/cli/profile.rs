//! `kinglet bench --profile`: where a step's time on the GPU goes, kernel by kernel.

use super::exit::Failure;
use super::output;
use super::steps::Step;
use kinglet::engine::Engine;
use kinglet::gpu::Ran;
use serde::Serialize;
use std::time::Duration;

/// What one step's kernels took.
#[derive(Debug, Serialize)]
pub struct Profile {
    step: &'static str,
    position: u32,
    rows: u32,
    dispatches: usize,
    /// Of all dispatches, without the gaps between them.
    time_us: f64,
    bytes: u64,
    /// The costliest first.
    kernels: Vec<Kernel>,
}

/// Dispatches of one kernel with the same sizes.
#[derive(Debug, Serialize)]
struct Kernel {
    kernel: &'static str,
    /// The sizes.
    constants: String,
    dispatches: usize,
    time_us: f64,
    /// Part of the step's time.
    share: f64,
    bytes: u64,
    gb_s: f64,
}

impl Profile {
    /// Runs the step `runs` times (and once before); each dispatch's time is the median of its runs.
    pub fn measure(engine: &mut Engine, step: Step, runs: u32) -> Result<Self, Failure> {
        step.record(engine)?;
        let runs = (0..runs).map(|_| step.record(engine)).collect::<Result<Vec<_>, _>>()?;
        Self::new(step, &runs)
            .ok_or_else(|| Failure::other("the GPU's timestamps cannot be used: some dispatch ended before it began"))
    }

    /// `None` if a time is missing.
    fn new(step: Step, runs: &[Vec<Ran>]) -> Option<Self> {
        let mut kernels: Vec<Kernel> = Vec::new();
        let first = runs.first()?;
        for (index, ran) in first.iter().enumerate() {
            let times = runs.iter().map(|run| run.get(index)?.time).collect::<Option<Vec<_>>>()?;
            let (name, constants) = (ran.pipeline.name(), ran.pipeline.constants());
            let place = kernels.iter().position(|kernel| kernel.kernel == name && kernel.constants == constants);
            let place = place.unwrap_or_else(|| {
                kernels.push(Kernel { kernel: name, constants, dispatches: 0, time_us: 0.0, share: 0.0, bytes: 0, gb_s: 0.0 });
                kernels.len() - 1
            });
            let kernel = &mut kernels[place];
            kernel.dispatches += 1;
            kernel.time_us += median(times).as_secs_f64() * 1e6;
            kernel.bytes += ran.bytes;
        }
        let time_us = kernels.iter().map(|kernel| kernel.time_us).sum::<f64>();
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        for kernel in &mut kernels {
            kernel.share = ratio(kernel.time_us, time_us);
            kernel.gb_s = ratio(kernel.bytes as f64, kernel.time_us * 1e3);
        }
        kernels.sort_by(|a, b| b.time_us.total_cmp(&a.time_us));
        let (position, rows) = step.span();
        let bytes = kernels.iter().map(|kernel| kernel.bytes).sum();
        Some(Self { step: step.name(), position, rows, dispatches: first.len(), time_us, bytes, kernels })
    }

    /// The table.
    pub fn print(&self) -> Result<(), Failure> {
        let Self { step, position, rows, dispatches, time_us, bytes, kernels } = self;
        output::line(format_args!(""))?;
        output::line(format_args!(
            "{step} at position {position}, rows {rows}: {dispatches} dispatches, {:.3} ms on the GPU, {} read",
            time_us / 1e3,
            output::bytes(*bytes)
        ))?;
        output::line(format_args!(
            "{:20} {:>10} {:>12} {:>7} {:>14} {:>9}  constants",
            "kernel", "dispatches", "time µs", "share", "bytes", "GB/s"
        ))?;
        kernels.iter().try_for_each(|Kernel { kernel, constants, dispatches, time_us, share, bytes, gb_s }| {
            output::line(format_args!(
                "{kernel:20} {dispatches:>10} {time_us:>12.1} {:>6.1}% {bytes:>14} {gb_s:>9.2}  {constants}",
                share * 100.0
            ))
        })
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[(times.len() - 1) / 2]
}
