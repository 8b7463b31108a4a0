//! Attention of one row over a long context, spread over the device: flash decoding (Dao et al. 2023).

use super::kv::Attention;
use super::source::Source;
use crate::gpu::{Access, Capabilities, Dispatch, Grid, Traffic};

const WORKGROUP: u32 = 64;
/// Query heads that a workgroup holds in registers at most.
const MAX_PACK: u32 = 16;
/// Invocations of a workgroup that merges.
const MERGE_WORKGROUP: u32 = 128;

/// How a workgroup of `attention_decode.wgsl` goes about its stretch.
struct Shape {
    /// Workgroups that share a key/value head's query heads.
    blocks: u32,
    /// Query heads of each.
    pack: u32,
    /// Invocations that share 16 keys.
    group: u32,
    /// Units of 8 elements of queries that an invocation keeps in registers, if so.
    keep: bool,
    /// Invocations that share the positions of a quad of values: a power of two, so that each has as many.
    slots: u32,
    /// Heads whose sums are brought together at once.
    round: u32,
    /// Quads of workgroup memory for weights, and later for sums.
    scratch: u32,
}

impl Shape {
    fn new(heads_per_kv: u32, head_dim: u32) -> Self {
        let blocks = heads_per_kv.div_ceil(MAX_PACK);
        let pack = heads_per_kv.div_ceil(blocks);
        // More heads have no room in workgroup memory beside so many positions.
        let group = if pack <= 11 { 4 } else { 8 };
        // 48 registers.
        let keep = pack * (head_dim / 8).div_ceil(group) <= 6;
        let owners = 4 * WORKGROUP / group;
        let quads = head_dim / 4;
        let slots = 1 << (WORKGROUP / quads).min(owners / 2).ilog2();
        let sums = slots * quads;
        let weights = pack * owners;
        let round = (weights / sums).clamp(1, pack);
        Self { blocks, pack, group, keep, slots, round, scratch: weights.max(sums) }
    }

    /// Positions of a stretch: a group has 16.
    fn split(&self) -> u32 {
        16 * WORKGROUP / self.group
    }

    /// Bytes of workgroup memory, with those of the reductions.
    #[cfg(test)]
    fn workgroup_bytes(&self) -> u32 {
        16 * (WORKGROUP + self.scratch) + 4 * self.pack * (self.split() / 4 + 2)
    }
}

impl Attention {
    /// Positions of a context so short that [`Attention::decode_short`] does: a stretch has as many at least.
    pub const SHORT_CONTEXT: u32 = 128;

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

    fn shape(&self) -> Shape {
        Shape::new(self.heads_per_kv(), self.head_dim)
    }

    fn stretches(&self, capabilities: Capabilities, direct: bool) -> Dispatch {
        let shape = self.shape();
        let Shape { blocks, pack, group, keep, slots, round, scratch } = shape;
        let source = self
            .source(capabilities)
            .uint("SPLIT", shape.split())
            .uint("SPLITS", self.splits())
            .uint("BLOCKS", blocks)
            .uint("PACK", pack)
            .uint("SLOTS", slots)
            .uint("ROUND", round)
            .uint("SCRATCH", scratch)
            .flag("KEEP", keep)
            .flag("DIRECT", direct);
        let deal = match capabilities.subgroups {
            true => include_str!("../../shaders/lib/deal_subgroup.wgsl"),
            false => include_str!("../../shaders/lib/deal_shared.wgsl"),
        };
        let shader = self.kv_type.read_units(source).reduce(WORKGROUP, group, capabilities).fragment(deal).build(
            "attention_decode",
            include_str!("../../shaders/attention_decode.wgsl"),
            &[Access::Read, Access::Read, Access::Read, Access::ReadWrite, Access::Read],
        );
        Dispatch {
            shader,
            grid: if direct {
                Grid::Linear(self.kv_heads * blocks)
            } else {
                Grid::Context { x: self.kv_heads * blocks, tile: shape.split(), most: self.splits() }
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
            .uint("SPLIT", self.shape().split())
            .uint("SPLITS", self.splits())
            .step()
            .reduce(MERGE_WORKGROUP, MERGE_WORKGROUP, capabilities)
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
                per_position: split_bytes / u64::from(self.shape().split()),
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
        self.most_positions().div_ceil(self.shape().split())
    }

    /// Bytes of one stretch of one head: its sums, and what they are relative to.
    fn partial_bytes(&self) -> u64 {
        4 * u64::from(self.head_dim + 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workgroup_memory_suffices_for_every_shape() {
        for pack in 1..=MAX_PACK {
            for head_dim in (8..=256).step_by(8) {
                let shape = Shape::new(pack, head_dim);
                let bytes = shape.workgroup_bytes();
                assert!(bytes <= 16 * 1024, "{pack} heads of {head_dim}: {bytes} bytes");
                assert!(shape.scratch >= shape.round * shape.slots * head_dim / 4 && shape.split() >= Attention::SHORT_CONTEXT);
            }
        }
    }
}
