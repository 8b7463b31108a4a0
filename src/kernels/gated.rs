//! Gated linear units (Shazeer 2020), where gate and up are products of their own.

use super::finish::Activation;
use super::source::Source;
use crate::gpu::{Access, Dispatch, Grid, Traffic};

/// `y = activation(gate) · up` for each of the step's rows; a row of x is gate then up. Bindings: x, y.
#[derive(Debug, Clone, Copy)]
pub struct Gated {
    /// Of the gate.
    pub activation: Activation,
    /// Length of gate, of up and of y, a multiple of 4.
    pub k: u32,
    /// Floats from one row of x to the next, a multiple of 4.
    pub x_stride: u32,
    /// Where up begins in a row of x, a multiple of 4.
    pub up_first: u32,
}

impl Gated {
    /// The dispatch.
    pub fn dispatch(&self) -> Dispatch {
        let shader = self
            .activation
            .source(Source::new())
            .uint("K", self.k)
            .uint("X_STRIDE", self.x_stride / 4)
            .uint("UP_FIRST", self.up_first / 4)
            .uint("Y_STRIDE", self.k / 4)
            .build("gated", include_str!("../../shaders/gated.wgsl"), &[Access::Read, Access::ReadWrite]);
        Dispatch {
            shader,
            grid: Grid::Rows { x: (self.k / 4).div_ceil(64), tile: 1 },
            traffic: Traffic { per_row: 8 * u64::from(self.k), ..Default::default() },
        }
    }
}

/// `activation(gate) · up` in f64, element by element.
pub fn gated_reference(activation: Activation, gate: &[f64], up: &[f64]) -> Vec<f64> {
    gate.iter().zip(up).map(|(g, u)| activation.reference(*g) * u).collect()
}
