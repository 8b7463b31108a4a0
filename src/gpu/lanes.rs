//! Whether a device spreads workgroups over subgroups in order, so that kernels may exchange numbers between neighbours.

use super::device::Gpu;
use super::error::GpuError;
use super::pipeline::{Access, Shader};
use super::plan::{Dispatch, Grid, Plan, Span, Traffic};

/// Workgroups that are looked at, and sizes like those that kernels have: smaller than a subgroup, some whole ones, and not whole.
const WORKGROUPS: u32 = 8;
const SIZES: [u32; 8] = [16, 32, 40, 48, 64, 72, 128, 256];

/// Runs `lanes.wgsl`. A device that cannot is not in order.
///
/// # Errors
/// A device that was lost.
pub(super) async fn in_order(gpu: &Gpu) -> Result<bool, GpuError> {
    let astray = gpu
        .attempt(async || {
            let astray = gpu.buffer("astray", 16)?;
            let mut plan = Plan::default();
            for size in SIZES {
                plan.push(gpu, &probe(size), &[astray.whole()]);
            }
            gpu.run(&plan, Span { position: 0, rows: 1 });
            gpu.download::<u32>(&astray, 0..4).await
        })
        .await;
    match astray {
        Err(error) if error.is_refusal() => Ok(false),
        astray => Ok(astray? == [0]),
    }
}

fn probe(workgroup: u32) -> Dispatch {
    let wgsl = format!("const WORKGROUP: u32 = {workgroup}u;\n{}", include_str!("../../shaders/lanes.wgsl"));
    let shader = Shader { name: "lanes", wgsl, bindings: vec![Access::ReadWrite], subgroups: true };
    Dispatch { shader, grid: Grid::Linear(WORKGROUPS), traffic: Traffic::default() }
}
