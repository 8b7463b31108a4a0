//! Quantized matrix times many token rows, tiled: every projection of prefill. Its twin is [`super::matvec_reference`].

use super::finish::{Finish, Outcome};
use super::format::Format;
use super::source::Source;
use crate::gpu::{Access, Dispatch, Grid, Traffic};

/// `X Wᵀ` for the step's rows. Bindings: quants, scales, x, and those of `finish`.
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
    /// Token rows of a workgroup's tile: 32 or 64.
    pub tile_tokens: u32,
    /// What the products go through,
    pub outcome: Outcome,
    /// and what becomes of them.
    pub finish: Finish,
}

/// Weight rows of a workgroup's tile, as in `matmul.wgsl`.
const TILE_ROWS: u32 = 64;

impl Matmul {
    /// The dispatch.
    pub fn dispatch(&self) -> Dispatch {
        debug_assert!(self.k.is_multiple_of(self.format.block_columns()) && matches!(self.tile_tokens, 32 | 64));
        debug_assert!(!matches!(self.finish, Finish::Residual { .. } | Finish::Logits { .. }), "these are for one row");
        let source = Source::new()
            .uint("QUADS", self.rows.div_ceil(4))
            .uint("K", self.k)
            .uint("UNITS", self.k / 8)
            .uint("X_STRIDE", self.x_stride / 4)
            .uint("TILE_TOKENS", self.tile_tokens);
        let mut bindings = vec![Access::Read; 3];
        bindings.extend(self.finish.bindings(&self.outcome));
        let shader = self.finish.source(self.format.read(source), &self.outcome).build(
            "matmul",
            include_str!("../../shaders/matmul.wgsl"),
            &bindings,
        );
        let planes = self.format.planes(self.rows, self.k);
        Dispatch {
            shader,
            grid: Grid::Rows { x: self.rows.div_ceil(TILE_ROWS), tile: self.tile_tokens },
            traffic: Traffic {
                fixed: planes.quants + planes.scales,
                per_row: 4 * u64::from(self.k) + self.finish.row_bytes(self.rows, &self.outcome),
                ..Default::default()
            },
        }
    }
}
