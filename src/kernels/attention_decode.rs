//! Attention of one row over a long context, spread over the device: flash decoding (Dao et al. 2023).

use super::kv::Attention;
use super::source::Source;
use crate::gpu::{Access, Capabilities, Dispatch, Grid, Traffic};

const WORKGROUP: u32 = 128;
/// Positions of a stretch: in `attention_decode.wgsl` each invocation weighs one.
const SPLIT: u32 = WORKGROUP;
/// Invocations that share a key.
const GROUP: u32 = 4;
/// Query heads that a workgroup holds in registers at most.
const MAX_PACK: u32 = 16;
/// Workgroup memory that every device has, bytes.
const WORKGROUP_BYTES: u32 = 16 * 1024;

impl Attention {
    /// Positions of a context so short that [`Attention::decode_short`] does.
    pub const SHORT_CONTEXT: u32 = SPLIT;

    /// Partial attention of the row at the step's position, one stretch of the context a workgroup; for steps of one row.
    /// Bindings: q, k, v, partials, step.
    pub fn decode(&self, capabilities: Capabilities) -> Dispatch {
        self.stretches(capabilities, false)
    }

    /// Attention of the row at the step's position, which is below [`Attention::SHORT_CONTEXT`]: nothing has to be merged.
    /// Bindings: q, k, v, y, step.
    pub fn decode_short(&self, capabilities: Capabilities) -> Dispatch {
        self.stretches(capabilities, true)
    }

    fn stretches(&self, capabilities: Capabilities, direct: bool) -> Dispatch {
        let heads_per_kv = self.heads_per_kv();
        let blocks = heads_per_kv.div_ceil(MAX_PACK);
        let pack = heads_per_kv.div_ceil(blocks);
        let source = self
            .source(capabilities)
            .uint("SPLITS", self.splits())
            .uint("BLOCKS", blocks)
            .uint("PACK", pack)
            .uint("SLOTS", slots(self.head_dim / 4))
            .uint("ROUND", round(pack, self.head_dim / 4))
            .flag("DIRECT", direct);
        let shader = self.kv_type.read_units(source).reduce(WORKGROUP, GROUP, capabilities).build(
            "attention_decode",
            include_str!("../../shaders/attention_decode.wgsl"),
            &[Access::Read, Access::Read, Access::Read, Access::ReadWrite, Access::Read],
        );
        Dispatch {
            shader,
            grid: if direct {
                Grid::Linear(self.kv_heads * blocks)
            } else {
                Grid::Context { x: self.kv_heads * blocks, tile: SPLIT, most: self.splits() }
            },
            traffic: Traffic {
                per_position: u64::from(blocks) * self.position_bytes(),
                most_positions: self.most_positions(),
                per_row: self.row_bytes(),
                ..Default::default()
            },
        }
    }

    /// What [`Attention::decode`] left, put together into a row of heads · head_dim. Bindings: partials, y, step.
    pub fn merge(&self, capabilities: Capabilities) -> Dispatch {
        let shader = Source::new()
            .uint("HEAD_DIM", self.head_dim)
            .uint("SPLIT", SPLIT)
            .uint("SPLITS", self.splits())
            .step()
            .reduce(WORKGROUP, WORKGROUP, capabilities)
            .build(
                "attention_merge",
                include_str!("../../shaders/attention_merge.wgsl"),
                &[Access::Read, Access::ReadWrite, Access::Read],
            );
        let split_bytes = u64::from(self.heads) * self.partial_bytes();
        Dispatch {
            shader,
            grid: Grid::Linear(self.heads),
            // A stretch that has only begun counts as a whole one: half a stretch more than its positions, on average.
            traffic: Traffic {
                fixed: split_bytes / 2,
                per_position: split_bytes / u64::from(SPLIT),
                most_positions: self.most_positions(),
                ..Default::default()
            },
        }
    }

    /// Bytes of the partials between the two.
    pub fn partials_bytes(&self) -> u64 {
        u64::from(self.heads) * u64::from(self.splits()) * self.partial_bytes()
    }

    /// Stretches of a full context.
    fn splits(&self) -> u32 {
        self.most_positions().div_ceil(SPLIT)
    }

    /// Bytes of one stretch of one head: its sums, and what they are relative to.
    fn partial_bytes(&self) -> u64 {
        4 * u64::from(self.head_dim + 4)
    }
}

/// Invocations that share the positions of a quad of values: a power of two, so that each has as many.
fn slots(quads: u32) -> u32 {
    1 << (WORKGROUP / quads).min(16).ilog2()
}

/// Heads whose sums are brought together at once: as many as workgroup memory has room for, beside what else is in it.
fn round(pack: u32, quads: u32) -> u32 {
    ((WORKGROUP_BYTES - kept_bytes(pack)) / sums_bytes(quads)).clamp(1, pack.min(4))
}

/// What `attention_decode.wgsl` (largest scores, weights) and `reduce_shared.wgsl` keep in workgroup memory.
fn kept_bytes(pack: u32) -> u32 {
    16 * WORKGROUP + 4 * pack * (WORKGROUP / GROUP + 1 + SPLIT)
}

/// The sums of one head, in workgroup memory.
fn sums_bytes(quads: u32) -> u32 {
    16 * slots(quads) * (quads + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workgroup_memory_suffices_for_every_shape() {
        for pack in 1..=MAX_PACK {
            for quads in (2..=64).step_by(2) {
                let bytes = kept_bytes(pack) + round(pack, quads) * sums_bytes(quads);
                assert!(bytes <= WORKGROUP_BYTES, "{pack} heads of {quads} quads: {bytes} bytes");
            }
        }
    }
}
