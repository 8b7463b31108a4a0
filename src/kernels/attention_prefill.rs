//! Causal attention of many rows: flash attention (Dao et al. 2022).

use super::kv::Attention;
use super::source::Source;
use crate::gpu::{Access, Dispatch, Grid, Traffic};

/// Rows of a workgroup, as in `attention_prefill.wgsl`.
const TILE_ROWS: u32 = 32;

impl Attention {
    /// Attention of the step's rows to every position up to each of them; q and y have rows of heads · head_dim.
    /// Bindings: q, k, v, y, step.
    pub fn prefill(&self) -> Dispatch {
        let source = Source::new()
            .uint("HEADS", self.heads)
            .uint("HEADS_PER_KV", self.heads_per_kv())
            .uint("HEAD_DIM", self.head_dim)
            .uint("CONTEXT", self.context)
            .float("SCALE", self.scale);
        let shader = self.kv_type.access(source).step().build(
            "attention_prefill",
            include_str!("../../shaders/attention_prefill.wgsl"),
            &[Access::Read, Access::Read, Access::Read, Access::ReadWrite, Access::Read],
        );
        Dispatch {
            shader,
            grid: Grid::Rows { x: self.heads, tile: TILE_ROWS },
            traffic: Traffic { per_position: self.position_bytes(), per_row: self.row_bytes(), ..Default::default() },
        }
    }
}
