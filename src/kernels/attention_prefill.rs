//! Causal attention of many rows: flash attention (Dao et al. 2022).

use super::kv::Attention;
use super::kv_type::KvType;
use super::source::Source;
use super::variant::Tiling;
use crate::gpu::{Access, Capabilities, Dispatch, Grid};

/// Rows of a workgroup of `attention_prefill.wgsl`, as there.
const TILE_ROWS: u32 = 32;

impl Attention {
    /// Attention of the step's rows to every position up to each of them; q and y have rows of heads · head_dim.
    /// Bindings: q, k, v, y, step; and what is carried, if segments were attended to before.
    pub fn prefill(&self, capabilities: Capabilities, tiling: Tiling) -> Dispatch {
        self.rows(capabilities, tiling, false)
    }

    /// The same of a segment that is not the step's last: sums stay in y, and the rest is carried. Bindings: q, k, v, y, step, carried.
    pub fn prefill_more(&self, capabilities: Capabilities, tiling: Tiling) -> Dispatch {
        self.rows(capabilities, tiling, true)
    }

    fn rows(&self, capabilities: Capabilities, tiling: Tiling, more: bool) -> Dispatch {
        use Access::{Read, ReadWrite};
        let resume = self.first > 0;
        let carries = resume || more;
        let (source, name, text, tile) = match tiling {
            Tiling::Shared => (
                self.kv_type.read_quads(self.source(capabilities.f16)),
                "attention_prefill",
                include_str!("../../shaders/attention_prefill.wgsl"),
                TILE_ROWS,
            ),
            Tiling::Rows { lanes } => {
                debug_assert!(capabilities.subgroups, "whoever chooses variants knows the device");
                let groups = self.groups();
                (
                    self.lanes_source(lanes, groups),
                    "attention_lanes",
                    include_str!("../../shaders/attention_lanes.wgsl"),
                    16 * groups,
                )
            }
        };
        let source = source
            .uint("END", if self.is_ring() { self.context } else { self.capacity })
            .flag("RESUME", resume)
            .flag("MORE", more)
            .fragment(match carries {
                true => include_str!("../../shaders/lib/carry.wgsl"),
                false => include_str!("../../shaders/lib/carry_none.wgsl"),
            });
        let bindings = [Read, Read, Read, ReadWrite, Read, ReadWrite];
        let shader = source.build(name, text, &bindings[..if carries { 6 } else { 5 }]);
        Dispatch { shader, grid: Grid::Tokens { tile, y: self.heads }, traffic: self.traffic(1) }
    }

    /// Groups of 16 rows in a workgroup of `attention_lanes.wgsl`: it has 64 invocations with heads of 64 and of 128, the usual ones, and 16 KiB hold
    /// the weights of heads of 256.
    fn groups(&self) -> u32 {
        if self.head_dim <= 64 { 2 } else { 1 }
    }

    fn lanes_source(&self, lanes: u32, groups: u32) -> Source {
        let source = self
            .source(false)
            .uint("LANES", lanes)
            // An invocation for 4 rows and a unit of values, in whole eights.
            .uint("GROUP", 8 * self.head_dim.div_ceil(16))
            .uint("GROUPS", groups)
            .subgroups();
        let source = self.kv_type.read_units(source);
        source
            .fragment(match self.kv_type {
                KvType::F16 => include_str!("../../shaders/lib/stage_words.wgsl"),
                _ => include_str!("../../shaders/lib/stage_numbers.wgsl"),
            })
            .fragment(match lanes {
                8 => include_str!("../../shaders/lib/attend_8.wgsl"),
                _ => include_str!("../../shaders/lib/attend_4.wgsl"),
            })
    }

    /// Bytes of what `rows` rows carry from segment to segment.
    pub fn carried_bytes(&self, rows: u32) -> u64 {
        8 * u64::from(rows) * u64::from(self.heads)
    }
}
