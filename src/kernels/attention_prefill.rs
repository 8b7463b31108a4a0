//! Causal attention of many rows: flash attention (Dao et al. 2022).

use super::kv::Attention;
use crate::gpu::{Access, Capabilities, Dispatch, Grid};

/// Rows of a workgroup, as in `attention_prefill.wgsl`.
const TILE_ROWS: u32 = 32;

impl Attention {
    /// Attention of the step's rows to every position up to each of them; q and y have rows of heads · head_dim.
    /// Bindings: q, k, v, y, step; and what is carried, if segments were attended to before.
    pub fn prefill(&self, capabilities: Capabilities) -> Dispatch {
        self.rows(capabilities, false)
    }

    /// The same of a segment that is not the step's last: sums stay in y, and the rest is carried. Bindings: q, k, v, y, step, carried.
    pub fn prefill_more(&self, capabilities: Capabilities) -> Dispatch {
        self.rows(capabilities, true)
    }

    fn rows(&self, capabilities: Capabilities, more: bool) -> Dispatch {
        use Access::{Read, ReadWrite};
        let resume = self.first > 0;
        let carries = resume || more;
        let source = self
            .source(capabilities.f16)
            .uint("END", if self.is_ring() { self.context } else { self.capacity })
            .flag("RESUME", resume)
            .flag("MORE", more)
            .fragment(match carries {
                true => include_str!("../../shaders/lib/carry.wgsl"),
                false => include_str!("../../shaders/lib/carry_none.wgsl"),
            });
        let source = match capabilities.subgroups {
            true => source.subgroups().fragment(include_str!("../../shaders/lib/share_subgroup.wgsl")),
            false => source.fragment(include_str!("../../shaders/lib/share_shared.wgsl")),
        };
        let bindings = [Read, Read, Read, ReadWrite, Read, ReadWrite];
        let shader = self.kv_type.read_quads(source).build(
            "attention_prefill",
            include_str!("../../shaders/attention_prefill.wgsl"),
            &bindings[..if carries { 6 } else { 5 }],
        );
        Dispatch { shader, grid: Grid::Rows { x: self.heads, tile: TILE_ROWS }, traffic: self.traffic(1) }
    }

    /// Bytes of what `rows` rows carry from segment to segment.
    pub fn carried_bytes(&self, rows: u32) -> u64 {
        8 * u64::from(rows) * u64::from(self.heads)
    }
}
