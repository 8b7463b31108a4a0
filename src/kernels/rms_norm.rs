//! RMSNorm (Zhang and Sennrich 2019).

use super::source::Source;
use crate::gpu::{Access, Capabilities, Dispatch, Grid, Traffic};

/// `y = x / √(mean(x²) + ε) · weight` for each of the step's rows. Bindings: x, weight, y.
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm {
    /// Length of a row, a multiple of 4.
    pub k: u32,
    /// ε (`attention.layer_norm_rms_epsilon`).
    pub epsilon: f32,
}

const WORKGROUP: u32 = 64;

impl RmsNorm {
    /// The dispatch.
    pub fn dispatch(&self, capabilities: Capabilities) -> Dispatch {
        let shader = Source::new()
            .uint("K", self.k)
            .float("EPSILON", self.epsilon)
            .reduce(WORKGROUP, WORKGROUP, capabilities)
            .build("rms_norm", include_str!("../../shaders/rms_norm.wgsl"), &[Access::Read, Access::Read, Access::ReadWrite]);
        Dispatch {
            shader,
            grid: Grid::Rows { x: 1, tile: 1 },
            traffic: Traffic { per_row: 8 * u64::from(self.k), ..Default::default() },
        }
    }
}

/// RMSNorm of each row of `x`, in f64.
pub fn rms_norm_reference(x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
    x.chunks_exact(weight.len())
        .flat_map(|row| {
            let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
            let factor = 1.0 / (mean + epsilon).sqrt();
            row.iter().zip(weight).map(move |(x, w)| x * factor * w).collect::<Vec<_>>()
        })
        .collect()
}
