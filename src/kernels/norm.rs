//! Norms of rows, where no product completes them: RMSNorm (Zhang and Sennrich 2019) and LayerNorm (Ba et al. 2016).

use super::source::Source;
use crate::gpu::{Access, Capabilities, Dispatch, Grid, Traffic};

/// Which norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `x / √(mean(x²) + ε) · weight`
    Rms,
    /// `(x - mean(x)) / √(var(x) + ε) · weight`
    Layer,
}

/// A norm of each of the step's rows. Bindings: x, weight, y, those of `target`, and the bias where there is one.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    /// Which.
    pub kind: NormKind,
    /// Length of a row, a multiple of 4.
    pub k: u32,
    /// ε (`attention.layer_norm_rms_epsilon` or `attention.layer_norm_epsilon`).
    pub epsilon: f32,
    /// There is a bias.
    pub bias: bool,
    /// What becomes of it.
    pub target: NormTarget,
    /// Invocations of a workgroup, which has one row, a power of two: [`Norm::ONE_ROW`], or for many rows those of a subgroup, which wait for no
    /// others.
    pub workgroup: u32,
}

/// What becomes of a norm's rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormTarget {
    /// They replace y.
    Rows,
    /// Times a factor they are added to y, the residual stream.
    Residual {
        /// Factor.
        scale: f32,
    },
    /// As before, for one row, and the residual stream's next RMSNorm is prepared as [`super::Weigh`] does, with one partial sum.
    /// Bindings: next norm weight, weighted.
    Prepared {
        /// Factor.
        scale: f32,
    },
}

impl Norm {
    /// Invocations for a single row.
    pub const ONE_ROW: u32 = 64;

    /// The dispatch.
    pub fn dispatch(&self, capabilities: Capabilities) -> Dispatch {
        let prepares = matches!(self.target, NormTarget::Prepared { .. });
        let (accumulate, scale) = match self.target {
            NormTarget::Residual { scale } | NormTarget::Prepared { scale } => (true, scale),
            _ => (false, 1.0),
        };
        let mut bindings = vec![Access::Read, Access::Read, Access::ReadWrite];
        if prepares {
            bindings.extend([Access::Read, Access::ReadWrite]);
        }
        let mut source = Source::new()
            .uint("K", self.k)
            .float("EPSILON", self.epsilon)
            .float("NORM_SCALE", scale)
            .flag("CENTER", self.kind == NormKind::Layer)
            .flag("ACCUMULATE", accumulate);
        let bias = match self.bias {
            true => {
                source = source.uint("BIAS_BINDING", bindings.len() as u32);
                bindings.push(Access::Read);
                include_str!("../../shaders/lib/bias.wgsl")
            }
            false => include_str!("../../shaders/lib/bias_none.wgsl"),
        };
        let shader = source
            .reduce(self.workgroup, self.workgroup, capabilities)
            .fragment(bias)
            .fragment(match prepares {
                true => include_str!("../../shaders/lib/prepare.wgsl"),
                false => include_str!("../../shaders/lib/prepare_none.wgsl"),
            })
            .build("norm", include_str!("../../shaders/norm.wgsl"), &bindings);
        let vectors = 2 + u64::from(self.bias) + u64::from(accumulate) + u64::from(prepares);
        let traffic = Traffic { per_row: 4 * vectors * u64::from(self.k), ..Default::default() };
        Dispatch { shader, grid: Grid::Rows { x: 1, tile: 1 }, traffic }
    }

    /// The norm of each row of `x`, in f64, without factor; `bias` is empty where there is none.
    pub fn reference(&self, x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
        x.chunks_exact(weight.len())
            .flat_map(|row| {
                let n = row.len() as f64;
                let mean = if self.kind == NormKind::Layer { row.iter().sum::<f64>() / n } else { 0.0 };
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                let factor = 1.0 / (variance + f64::from(self.epsilon)).sqrt();
                let bias = |i: usize| bias.get(i).copied().unwrap_or(0.0);
                row.iter().zip(weight).enumerate().map(move |(i, (x, w))| (x - mean) * factor * w + bias(i)).collect::<Vec<_>>()
            })
            .collect()
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
