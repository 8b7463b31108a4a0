//! Causal attention of many rows: flash attention (Dao et al. 2022).

use super::kv::Attention;
use crate::gpu::{Access, Capabilities, Dispatch, Grid, Traffic};

/// Rows of a workgroup, as in `attention_prefill.wgsl`.
const TILE_ROWS: u32 = 32;

impl Attention {
    /// Attention of the step's rows to every position up to each of them; q and y have rows of heads · head_dim.
    /// Bindings: q, k, v, y, step.
    pub fn prefill(&self, capabilities: Capabilities) -> Dispatch {
        let shader = self.kv_type.read_quads(self.source(capabilities)).build(
            "attention_prefill",
            include_str!("../../shaders/attention_prefill.wgsl"),
            &[Access::Read, Access::Read, Access::Read, Access::ReadWrite, Access::Read],
        );
        Dispatch {
            shader,
            grid: Grid::Rows { x: self.heads, tile: TILE_ROWS },
            traffic: Traffic {
                per_position: self.position_bytes(),
                most_positions: self.most_positions(),
                per_row: self.row_bytes(),
                ..Default::default()
            },
        }
    }
}
