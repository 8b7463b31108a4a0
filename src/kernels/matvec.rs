//! Quantized matrix times one to eight vectors: every projection of a decode step.

use super::format::Format;
use super::source::Source;
use crate::gpu::{Access, Capabilities, Dispatch, Grid, Traffic};

/// `y = W x` for `columns` vectors. Bindings: quants, scales, x, y.
#[derive(Debug, Clone, Copy)]
pub struct Matvec {
    /// Weight format.
    pub format: Format,
    /// Rows of W (of this shard).
    pub rows: u32,
    /// Columns of W: the length of x, a multiple of 8 and of the format's block.
    pub k: u32,
    /// Vectors, 1 to 8.
    pub vectors: u32,
    /// Floats from one vector of x to the next, a multiple of 4.
    pub x_stride: u32,
    /// Floats from one vector of y to the next, a multiple of 4.
    pub y_stride: u32,
    /// Where row 0 of W goes in y, a multiple of 4.
    pub y_first: u32,
    /// Add to y instead of replacing it.
    pub accumulate: bool,
}

const WORKGROUP: u32 = 64;

impl Matvec {
    /// The dispatch.
    pub fn dispatch(&self, capabilities: Capabilities) -> Dispatch {
        debug_assert!((1..=8).contains(&self.vectors) && self.k.is_multiple_of(self.format.block_columns()));
        let quads = self.rows.div_ceil(4);
        let blocks = self.k / self.format.block_columns();
        let group = group(blocks);
        let source = Source::new()
            .uint("QUADS", quads)
            .uint("BLOCKS", blocks)
            .uint("COLUMNS", self.vectors)
            .uint("X_STRIDE", self.x_stride / 4)
            .uint("Y_STRIDE", self.y_stride / 4)
            .uint("Y_FIRST", self.y_first / 4)
            .flag("ACCUMULATE", self.accumulate);
        let shader = self.format.read(source).reduce(WORKGROUP, group, capabilities).build(
            "matvec",
            include_str!("../../shaders/matvec.wgsl"),
            &[Access::Read, Access::Read, Access::Read, Access::ReadWrite],
        );
        let planes = self.format.planes(self.rows, self.k);
        let y = if self.accumulate { u64::from(self.rows) } else { 0 };
        Dispatch {
            shader,
            grid: Grid::Linear(quads.div_ceil(WORKGROUP / group)),
            traffic: Traffic {
                fixed: planes.quants + planes.scales + 4 * u64::from(self.vectors) * (u64::from(self.k) + y),
                ..Default::default()
            },
        }
    }
}

/// Invocations that share a quad: enough to split the blocks evenly, few enough that little of them idles.
fn group(blocks: u32) -> u32 {
    match blocks {
        0..=15 => 4,
        16..=31 => 8,
        32..=127 => 16,
        _ => 32,
    }
}

/// `y[v][r] = Σ_k w[r][k] x[v][k]` in f64; `w` is (rows, k), `x` is (vectors, k), the result is (vectors, rows).
pub fn matvec_reference(w: &[f64], x: &[f64], rows: usize, k: usize) -> Vec<f64> {
    x.chunks_exact(k)
        .flat_map(|x| w.chunks_exact(k).take(rows).map(|w| w.iter().zip(x).map(|(w, x)| w * x).sum()).collect::<Vec<f64>>())
        .collect()
}
