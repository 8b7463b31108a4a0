//! Token embedding: gathering rows of a quantized matrix.

use super::format::Format;
use super::source::Source;
use crate::gpu::{Access, Dispatch, Grid, Traffic};

/// Row `ids[r]` of W into row r of y, for the step's rows. Bindings: quants, scales, ids (for positions the step), y.
#[derive(Debug, Clone, Copy)]
pub struct Embed {
    /// Weight format.
    pub format: Format,
    /// First vocabulary row that this shard holds.
    pub first_row: u32,
    /// Rows that this shard holds.
    pub rows: u32,
    /// Columns of W, the embedding length.
    pub k: u32,
    /// Floats from one row of y to the next, a multiple of 4.
    pub y_stride: u32,
    /// Factor on every value (1 for most families).
    pub scale: f32,
    /// The rows of W are learned positions: the row of each token's position is added to y.
    pub positions: bool,
}

impl Embed {
    /// The dispatch.
    pub fn dispatch(&self) -> Dispatch {
        let units = self.k / 8;
        let source = Source::new()
            .uint("UNITS", units)
            .uint("FIRST_ROW", self.first_row)
            .uint("ROWS", self.rows)
            .uint("Y_STRIDE", self.y_stride / 4)
            .float("SCALE", self.scale)
            .flag("POSITIONS", self.positions);
        let source = self.format.read(source).fragment(include_str!("../../shaders/lib/row.wgsl"));
        let shader = source.build(
            "embed",
            include_str!("../../shaders/embed.wgsl"),
            &[Access::Read, Access::Read, Access::Read, Access::ReadWrite],
        );
        // The quad that holds the row is read whole.
        let quad = self.format.planes(4, self.k);
        Dispatch {
            shader,
            grid: Grid::Rows { x: units.div_ceil(64), tile: 1 },
            traffic: Traffic { per_row: quad.quants + quad.scales, ..Default::default() },
        }
    }
}

/// Row `ids[r]` of `w` (rows, k) times `scale`, for each r.
pub fn embed_reference(w: &[f64], ids: &[u32], k: usize, scale: f64) -> Vec<f64> {
    ids.iter().flat_map(|&id| w[id as usize * k..][..k].iter().map(move |w| w * scale)).collect()
}
