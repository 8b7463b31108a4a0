//! SwiGLU (Shazeer 2020).

use super::source::Source;
use crate::gpu::{Access, Dispatch, Grid, Traffic};

/// `y = silu(gate) · up` for each of the step's rows; a row of x is gate then up. Bindings: x, y.
#[derive(Debug, Clone, Copy)]
pub struct Swiglu {
    /// Length of gate, of up and of y, a multiple of 4.
    pub k: u32,
    /// Floats from one row of x to the next, a multiple of 4.
    pub x_stride: u32,
    /// Where up begins in a row of x, a multiple of 4.
    pub up_first: u32,
}

impl Swiglu {
    /// The dispatch.
    pub fn dispatch(&self) -> Dispatch {
        let shader = Source::new()
            .uint("K", self.k)
            .uint("X_STRIDE", self.x_stride / 4)
            .uint("UP_FIRST", self.up_first / 4)
            .uint("Y_STRIDE", self.k / 4)
            .build("swiglu", include_str!("../../shaders/swiglu.wgsl"), &[Access::Read, Access::ReadWrite]);
        Dispatch {
            shader,
            grid: Grid::Rows { x: (self.k / 4).div_ceil(64), tile: 1 },
            traffic: Traffic { per_row: 8 * u64::from(self.k), ..Default::default() },
        }
    }
}

/// `silu(gate) · up` in f64, element by element.
pub fn swiglu_reference(gate: &[f64], up: &[f64]) -> Vec<f64> {
    gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
}
