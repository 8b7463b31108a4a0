//! From many rows to the last of them.

use super::source::Source;
use crate::gpu::{Access, Dispatch, Grid, Traffic};

/// The step's last row becomes its only one, as if it were run alone at its position: its residual stream and its queries move to row 0.
/// Bindings: residual, q, step.
#[derive(Debug, Clone, Copy)]
pub struct LastRow {
    /// Length of a row of the residual stream, a multiple of 4.
    pub k: u32,
    /// Length of a row of queries, a multiple of 4.
    pub queries: u32,
}

impl LastRow {
    /// The dispatch.
    pub fn dispatch(&self) -> Dispatch {
        let shader = Source::new().uint("K", self.k).uint("QUERIES", self.queries).step().build(
            "last_row",
            include_str!("../../shaders/last_row.wgsl"),
            &[Access::ReadWrite; 3],
        );
        let traffic = Traffic { fixed: 4 * u64::from(self.k + self.queries), ..Default::default() };
        Dispatch { shader, grid: Grid::Linear(1), traffic }
    }
}
