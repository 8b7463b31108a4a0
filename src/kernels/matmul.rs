//! Quantized matrix times many token rows, tiled: every projection of prefill. Its twin is [`super::matvec_reference`].

use super::format::Format;
use super::source::Source;
use crate::gpu::{Access, Dispatch, Grid, Traffic};

/// `Y = X Wᵀ` for the step's rows. Bindings: quants, scales, x, y, step.
#[derive(Debug, Clone, Copy)]
pub struct Matmul {
    /// Weight format.
    pub format: Format,
    /// Rows of W (of this shard).
    pub rows: u32,
    /// Columns of W: the length of a row of X, a multiple of 8 and of the format's block.
    pub k: u32,
    /// Floats from one row of X to the next, a multiple of 4.
    pub x_stride: u32,
    /// Floats from one row of Y to the next, a multiple of 4.
    pub y_stride: u32,
    /// Where row 0 of W goes in a row of Y, a multiple of 4.
    pub y_first: u32,
    /// Add to Y instead of replacing it.
    pub accumulate: bool,
}

/// Weight rows and token rows of a workgroup's tile, as in `matmul.wgsl`.
const TILE_ROWS: u32 = 64;
const TILE_TOKENS: u32 = 32;

impl Matmul {
    /// The dispatch.
    pub fn dispatch(&self) -> Dispatch {
        debug_assert!(self.k.is_multiple_of(self.format.block_columns()));
        let source = Source::new()
            .uint("QUADS", self.rows.div_ceil(4))
            .uint("K", self.k)
            .uint("UNITS", self.k / 8)
            .uint("X_STRIDE", self.x_stride / 4)
            .uint("Y_STRIDE", self.y_stride / 4)
            .uint("Y_FIRST", self.y_first / 4)
            .flag("ACCUMULATE", self.accumulate);
        let shader = self.format.read(source).step().build(
            "matmul",
            include_str!("../../shaders/matmul.wgsl"),
            &[Access::Read, Access::Read, Access::Read, Access::ReadWrite, Access::Read],
        );
        let planes = self.format.planes(self.rows, self.k);
        Dispatch {
            shader,
            grid: Grid::Rows { x: self.rows.div_ceil(TILE_ROWS), tile: TILE_TOKENS },
            traffic: Traffic {
                fixed: planes.quants + planes.scales,
                per_row: 4 * (u64::from(self.k) + if self.accumulate { u64::from(self.rows) } else { 0 }),
                ..Default::default()
            },
        }
    }
}
