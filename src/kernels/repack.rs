//! From staged GGUF bytes to the planes that the other kernels read.

use super::format::Format;
use super::source::Source;
use crate::gpu::{Access, Shader};

/// Which part of a matrix a staged run holds.
#[derive(Debug, Clone, Copy)]
pub struct RepackChunk {
    /// First quad of the matrix that the run fills.
    pub first_quad: u32,
    /// From one quad of the run to the next, in quads of the matrix.
    pub quad_step: u32,
    /// Rows in the run.
    pub rows: u32,
}

impl RepackChunk {
    /// Size of a buffer that holds [`Repack::chunk`] of any format: the largest grid has 2,048 points of 16 bits.
    pub const MOST_BYTES: u64 = 12 + 2 * 2048;
}

/// Repacks a run of whole rows. Bindings: staged, chunk, quants, and scales where the format has them.
#[derive(Debug, Clone, Copy)]
pub struct Repack {
    /// The blocks' format,
    pub from: Format,
    /// and that of the planes, which holds it ([`Format::holds`]).
    pub format: Format,
    /// Columns of the matrix.
    pub k: u32,
    /// The rows are reordered on the way.
    pub reorder: Option<Reorder>,
}

/// Heads in which elements i and i + `rope_dims` / 2 turn together are stored with these two side by side, as every kernel expects them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reorder {
    /// Rows of a head; a run has whole heads.
    pub head_rows: u32,
    /// Leading rows of a head that turn.
    pub rope_dims: u32,
}

impl Reorder {
    /// The row of the tensor that becomes row `row`, as `lib/bytes.wgsl` has it.
    pub fn source_row(self, row: u32) -> u32 {
        let element = row % self.head_rows;
        match element < self.rope_dims {
            true => row - element + element / 2 + element % 2 * (self.rope_dims / 2),
            false => row,
        }
    }
}

impl Repack {
    /// The shader; its grid is [`Repack::workgroups`].
    pub fn shader(&self) -> Shader {
        let reorder = self.reorder.unwrap_or(Reorder { head_rows: 1, rope_dims: 0 });
        let source = Source::new()
            .uint("BLOCKS", self.k / self.format.block_columns())
            .uint("HEAD_ROWS", reorder.head_rows)
            .uint("ROPE_DIMS", reorder.rope_dims)
            .fragment(include_str!("../../shaders/lib/bytes.wgsl"));
        let (source, kernel) = self.format.repack(self.from, source);
        let mut bindings = vec![Access::Read, Access::Read, Access::ReadWrite];
        if self.has_scales() {
            bindings.push(Access::ReadWrite);
        }
        source.build("repack", kernel, &bindings)
    }

    /// What the chunk binding holds for a run: which part it is, and behind it the grid of the format, if it has one.
    pub fn chunk(&self, run: RepackChunk) -> Vec<u32> {
        let words: Vec<u32> = [run.first_quad, run.quad_step, run.rows].into_iter().chain(self.from.points()).collect();
        debug_assert!(size_of_val(&words[..]) as u64 <= RepackChunk::MOST_BYTES);
        words
    }

    /// The format has a scale plane.
    pub fn has_scales(&self) -> bool {
        self.format.planes(4, self.k).scales > 0
    }

    /// Workgroups for a run of `rows` rows.
    pub fn workgroups(&self, rows: u32) -> u32 {
        (rows.div_ceil(4) * (self.k / self.format.block_columns())).div_ceil(64)
    }
}
