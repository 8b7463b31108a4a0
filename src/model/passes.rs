//! What runs through all blocks of a model: plans for prefill and decode, by the segment of the KV cache that they write.

use super::cache::Cache;
use super::plan::{Planner, Width};
use crate::gpu::{Plan, Span};
use crate::kernels::Attention;

/// The plans of all blocks.
pub(super) struct Passes {
    /// For one token in a short context.
    short: Plan,
    by_segment: Vec<SegmentPasses>,
}

/// Those that write one segment.
pub(super) struct SegmentPasses {
    /// With the embedding, for a chunk of the prompt of few rows, and for one of any size.
    prompt: [Plan; 2],
    /// For the last row of the prompt's last chunk: what remains of the last block.
    last_row: Plan,
    /// For one token.
    decode: Plan,
}

impl Passes {
    /// Those of the first segment.
    pub(super) fn new(planner: &Planner<'_>) -> Self {
        let short = planner.decode(Width::Short, planner.config.layers as usize);
        Self { short, by_segment: vec![SegmentPasses::new(planner)] }
    }

    /// Adds those of the next segment.
    pub(super) fn push(&mut self, next: SegmentPasses) {
        self.by_segment.push(next);
    }

    /// Keeps those of the first `segments`.
    pub(super) fn truncate(&mut self, segments: usize) {
        self.by_segment.truncate(segments);
    }

    /// A decode step at `position`.
    pub(super) fn decode(&self, cache: &Cache, position: u32) -> &Plan {
        if position < Attention::SHORT_CONTEXT { &self.short } else { &self.at(cache, position).decode }
    }

    /// A chunk of the prompt, with its embedding.
    pub(super) fn prompt(&self, cache: &Cache, span: Span) -> &Plan {
        let many = Width::of_prefill(span.rows as usize) == Width::Many;
        &self.at(cache, span.position).prompt[usize::from(many)]
    }

    /// What the last chunk is followed by, which ends at `position`.
    pub(super) fn last_row(&self, cache: &Cache, position: u32) -> &Plan {
        &self.at(cache, position).last_row
    }

    fn at(&self, cache: &Cache, position: u32) -> &SegmentPasses {
        &self.by_segment[cache.segment_of(position)]
    }
}

impl SegmentPasses {
    /// Those of the planner's segment.
    pub(super) fn new(planner: &Planner<'_>) -> Self {
        Self {
            prompt: [Width::Few, Width::Many].map(|width| planner.prompt(width)),
            last_row: planner.last_row(),
            decode: planner.decode(Width::One, planner.config.layers as usize),
        }
    }
}
