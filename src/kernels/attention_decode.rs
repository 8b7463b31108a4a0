//! Attention of one row over a long context, spread over the device: flash decoding (Dao et al. 2023).

use super::kv::Attention;
use super::kv_type::KvType;
use super::source::Source;
use crate::gpu::{Access, Capabilities, Dispatch, Grid, Traffic};

const WORKGROUP: u32 = 64;
/// Invocations that share 16 keys.
const GROUP: u32 = 4;
/// Positions that a workgroup goes over at once: a group has 16.
const PART: u32 = 16 * WORKGROUP / GROUP;
/// Query heads of a workgroup at most: their weights are in its memory.
const MAX_PACK: u32 = 8;
/// Parts times heads whose weights its memory has room for.
const MOST_WEIGHTS: u32 = 12;
/// Query heads whose products with 4 keys an invocation holds in registers at most, and later their sums of 8 values each.
const MAX_BATCH: u32 = 4;
/// Invocations of a workgroup that merges.
const MERGE_WORKGROUP: u32 = 128;

/// How a workgroup of `attention_decode.wgsl` goes about its stretch.
struct Shape {
    /// Workgroups that share a key/value head's query heads.
    blocks: u32,
    /// Query heads of each.
    pack: u32,
    /// Of these, those whose products are summed at once, and later their values.
    batch: u32,
    /// An invocation keeps its part of the queries in registers.
    keep: bool,
    /// Invocations that share the positions of 8 elements of values.
    slots: u32,
}

impl Shape {
    fn new(heads_per_kv: u32, head_dim: u32, kv_type: KvType) -> Self {
        let blocks = heads_per_kv.div_ceil(MAX_PACK);
        let pack = heads_per_kv.div_ceil(blocks);
        let batch = pack.div_ceil(pack.div_ceil(MAX_BATCH));
        // Registers, 8 a unit; keys in f32 take twice as many.
        let most_kept = if kv_type == KvType::F32 { 4 } else { 6 };
        let keep = batch == pack && pack * (head_dim / 8).div_ceil(GROUP) <= most_kept;
        Self { blocks, pack, batch, keep, slots: WORKGROUP / (head_dim / 8) }
    }
}

impl Attention {
    /// Segments begin at multiples of this.
    pub const SEGMENT_ALIGNMENT: u32 = PART;

    /// Positions of a context so short that [`Attention::decode_short`] does: a part has as many at least.
    pub const SHORT_CONTEXT: u32 = 128;

    /// Partial attention of the row at the step's position, one stretch of the context a workgroup; for steps of one row. Segments have a dispatch
    /// each, with the same partials. Bindings: q, k, v, partials, step.
    pub fn decode(&self, capabilities: Capabilities) -> Dispatch {
        self.stretches(capabilities, false)
    }

    /// Attention of the row at the step's position, which is below [`Attention::SHORT_CONTEXT`]: nothing has to be merged.
    /// Bindings: q, k, v, y, step.
    pub fn decode_short(&self, capabilities: Capabilities) -> Dispatch {
        self.stretches(capabilities, true)
    }

    fn shape(&self) -> Shape {
        Shape::new(self.heads_per_kv(), self.head_dim, self.kv_type)
    }

    fn stretches(&self, capabilities: Capabilities, direct: bool) -> Dispatch {
        let Shape { blocks, pack, batch, keep, slots } = self.shape();
        let run = if direct { 1 } else { self.run() };
        let source = self
            // f16 as words: 8 elements are one load then, and as numbers two.
            .source(false)
            .uint("SPLIT", run * PART)
            .uint("RUN", run)
            .uint("SPLITS", self.splits())
            .uint("FIRST_SPLIT", self.first / self.stretch())
            .uint("BLOCKS", blocks)
            .uint("PACK", pack)
            .uint("BATCH", batch)
            .uint("SLOTS", slots)
            .flag("KEEP", keep)
            .flag("DIRECT", direct);
        let deal = match capabilities.subgroups {
            true => include_str!("../../shaders/lib/deal_subgroup.wgsl"),
            false => include_str!("../../shaders/lib/deal_shared.wgsl"),
        };
        let shader = self.kv_type.read_units(source).reduce(WORKGROUP, GROUP, capabilities).fragment(deal).build(
            "attention_decode",
            include_str!("../../shaders/attention_decode.wgsl"),
            &[Access::Read, Access::Read, Access::Read, Access::ReadWrite, Access::Read],
        );
        Dispatch {
            shader,
            grid: if direct {
                Grid::Linear(self.kv_heads * blocks)
            } else {
                Grid::Context {
                    x: self.kv_heads * blocks,
                    first: self.first,
                    tile: self.stretch(),
                    most: self.capacity.div_ceil(self.stretch()),
                }
            },
            traffic: self.traffic(blocks),
        }
    }

    /// What [`Attention::decode`] left of all segments, put together into a row of heads · head_dim. Bindings: partials, y, step.
    pub fn merge(&self) -> Dispatch {
        let shader = Source::new()
            .uint("HEAD_DIM", self.head_dim)
            .uint("SPLIT", self.stretch())
            .uint("SPLITS", self.splits())
            .uint("WORKGROUP", MERGE_WORKGROUP)
            .step()
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
                per_position: split_bytes / u64::from(self.stretch()),
                most_positions: self.attended(),
                ..Default::default()
            },
        }
    }

    /// Bytes of the partials between the two.
    pub fn partials_bytes(&self) -> u64 {
        u64::from(self.heads) * u64::from(self.splits()) * self.partial_bytes()
    }

    /// Positions that a row attends to at most, in all segments.
    fn attended(&self) -> u32 {
        if self.is_ring() { self.capacity } else { self.context }
    }

    /// Stretches of a full context.
    fn splits(&self) -> u32 {
        debug_assert!(self.first.is_multiple_of(self.stretch()));
        self.attended().div_ceil(self.stretch())
    }

    /// Positions of a stretch.
    fn stretch(&self) -> u32 {
        self.run() * PART
    }

    /// As wanted, where a workgroup's memory has room for the weights.
    fn run(&self) -> u32 {
        if self.run * self.shape().pack <= MOST_WEIGHTS { self.run } else { 1 }
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
        for heads in 1..=3 * MAX_PACK {
            for head_dim in (8..=256).step_by(8) {
                let shape = Shape::new(heads, head_dim, KvType::F16);
                // Weights, what owners have and what is had of all, reductions.
                let parts = MOST_WEIGHTS.max(shape.pack);
                let bytes = 16 * parts * WORKGROUP + 4 * shape.pack * (WORKGROUP + 2) + 16 * WORKGROUP;
                assert!(bytes <= 16 * 1024, "{heads} heads of {head_dim}: {bytes} bytes");
                assert!(shape.slots > 0 && shape.slots * head_dim / 8 <= WORKGROUP);
                assert!(shape.pack * shape.blocks >= heads && shape.pack * (shape.blocks - 1) < heads);
            }
        }
        const { assert!(PART >= Attention::SHORT_CONTEXT && PART == 4 * WORKGROUP) };
    }
}
