//! RMSNorm (Zhang and Sennrich 2019).

use super::source::Source;
use crate::gpu::{Access, Capabilities, Dispatch, Grid, Traffic};

/// `y = x / √(mean(x²) + ε) · weight` for each of the step's rows. Bindings: x, weight, y, step.
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm {
    /// Length of a row, a multiple of 4.
    pub k: u32,
    /// ε (`attention.layer_norm_rms_epsilon`).
    pub epsilon: f32,
    /// Only the step's last row, written to row 0 of y.
    pub last_row: bool,
}

const WORKGROUP: u32 = 64;

impl RmsNorm {
    /// The dispatch.
    pub fn dispatch(&self, capabilities: Capabilities) -> Dispatch {
        let shader = Source::new()
            .uint("K", self.k)
            .uint("STRIDE", self.k / 4)
            .float("EPSILON", self.epsilon)
            .flag("LAST_ROW", self.last_row)
            .step()
            .reduce(WORKGROUP, WORKGROUP, capabilities)
            .build(
                "rms_norm",
                include_str!("../../shaders/rms_norm.wgsl"),
                &[Access::Read, Access::Read, Access::ReadWrite, Access::Read],
            );
        let row = 8 * u64::from(self.k);
        Dispatch {
            shader,
            grid: if self.last_row { Grid::Linear(1) } else { Grid::Rows { x: 1, tile: 1 } },
            traffic: if self.last_row {
                Traffic { fixed: row, ..Default::default() }
            } else {
                Traffic { per_row: row, ..Default::default() }
            },
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
