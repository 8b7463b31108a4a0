//! The plan of a transformer: the dispatches of a prefill chunk and of a decode step, with every pipeline, buffer and bind group made once.
//!
//! A block of a decode step of the usual model is five dispatches, or six where the context is long (`block.rs`):
//! q, k and v with RoPE and the cache's write · attention (· merging its stretches) · output projection onto the residual stream ·
//! gate and up with SwiGLU · down projection onto the residual stream.
//! Where q, k and v, or gate and up, are of different types and stay so (`widen.rs`), each type has a dispatch. Prefill has the same with a tiled matmul and
//! norms of their own.

use super::block::{Input, product};
use super::config::ModelConfig;
use super::experts::feed_forward_partials;
use super::tuning::Tuning;
use super::weights::{NormWeights, Weights};
use super::workspace::Workspace;
use crate::gpu::{Binding, Buffer, Gpu, Plan};
use crate::kernels::{Embed, Finish, LastRow, Next, NormTarget, Outcome, SamplePick, Weigh};
use crate::weights::Matrix;

/// How a plan runs its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// One token row at a position below [`Attention::SHORT_CONTEXT`].
    Short,
    /// One token row anywhere.
    One,
    /// At most [`FEW_ROWS`] token rows: tiled matmul and tiled attention.
    Few,
    /// Any number of token rows: the same with larger tiles.
    Many,
}

/// Token rows for which a smaller tile saves work.
pub(super) const FEW_ROWS: usize = 32;

impl Width {
    /// How many rows are run in one go.
    pub(super) fn of_prefill(rows: usize) -> Self {
        if rows <= FEW_ROWS { Width::Few } else { Width::Many }
    }

    /// Token rows of a tile, where the blocks are tiled.
    pub(super) fn tile(self) -> Option<u32> {
        match self {
            Width::Short | Width::One => None,
            Width::Few => Some(FEW_ROWS as u32),
            Width::Many => Some(64),
        }
    }
}

/// Makes plans for one model on one device.
pub(super) struct Planner<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) config: &'a ModelConfig,
    pub(super) weights: &'a Weights,
    pub(super) space: &'a Workspace,
    pub(super) tuning: &'a Tuning,
    /// The segment of the KV cache that is written.
    pub(super) segment: usize,
}

impl<'a> Planner<'a> {
    /// Many rows: their embedding and the first `layers` blocks, which leave the residual stream.
    pub(super) fn prefill(&self, width: Width, layers: usize) -> Plan {
        let mut plan = Plan::default();
        self.embed(&mut plan, width);
        self.blocks(&mut plan, width, layers, None);
        plan
    }

    /// A chunk of a prompt: as [`Planner::prefill`], but of the last block only what it leaves in the KV cache, and its queries.
    pub(super) fn prompt(&self, width: Width) -> Plan {
        let mut plan = Plan::default();
        self.embed(&mut plan, width);
        let last = self.weights.layers.len() - 1;
        self.blocks(&mut plan, width, last, None);
        let layer = &self.weights.layers[last];
        let input = self.input(&mut plan, width, layer.attn_norm.as_ref(), None);
        self.place(&mut plan, width, last, layer, input);
        plan
    }

    /// What [`Planner::prompt`] left out, for its last row alone, which is prepared for [`Planner::head`].
    pub(super) fn last_row(&self) -> Plan {
        let mut plan = Plan::default();
        let (config, space, buffers) = (self.config, self.space, &self.space.activations);
        let last = self.weights.layers.len() - 1;
        let keep = LastRow { k: config.embedding, queries: config.heads * config.head_dim };
        plan.push(self.gpu, &keep.dispatch(), &[&buffers.residual, &buffers.q, &space.sequence].map(Binding::from));
        self.attend(&mut plan, Width::One, last);
        let prepared = self.rest(&mut plan, Width::One, &self.weights.layers[last], Some(&self.weights.output_norm), None);
        debug_assert_eq!(prepared, self.prepared_for_head());
        plan
    }

    /// The embedding of one id, prepared for [`Planner::decode`].
    pub(super) fn enter(&self) -> Plan {
        let mut plan = Plan::default();
        self.embed(&mut plan, Width::One);
        if let Some(norm) = self.first_deferred() {
            self.weigh(&mut plan, norm, self.entry_partials());
        }
        plan
    }

    /// The first `layers` blocks for one row, which leave it prepared for the next block or for [`Planner::head`].
    pub(super) fn decode(&self, width: Width, layers: usize) -> Plan {
        let mut plan = Plan::default();
        self.blocks(&mut plan, width, layers, self.first_deferred().map(|_| self.entry_partials()));
        plan
    }

    /// The LM head for one row, and the draw of a token, with the next step's embedding unless [`Planner::draws_ids`].
    pub(super) fn head(&self) -> Plan {
        let mut plan = Plan::default();
        let (config, space, buffers) = (self.config, self.space, &self.space.activations);
        let norm = &self.weights.output_norm;
        let input = match self.prepared_for_head() {
            None => {
                self.norm(&mut plan, Width::One, norm, [&buffers.residual, &buffers.normed], NormTarget::Rows, &[]);
                Input { x: &buffers.normed, norm: None }
            }
            prepared => self.input(&mut plan, Width::One, Some(norm), prepared),
        };
        let bias = self.weights.output_bias.as_ref();
        let mut partials = 0;
        for shard in &self.weights.head().shards {
            let finish = Finish::Logits { vocab: config.vocab, first: shard.first_row, partial_first: partials };
            let matvec = product(self.weights.head(), shard, self.logits(), finish);
            let bindings = [&space.sequence, &space.logits, &space.head_partials];
            self.product(&mut plan, Width::One, input, matvec, shard, &bindings, bias.as_slice());
            partials += matvec.workgroups();
        }
        let table = &self.weights.token_embd;
        let first_norm = self.first_deferred().filter(|_| !self.draws_ids());
        let next = match first_norm {
            None => Next::Id,
            Some(_) => {
                let norm_partials = self.entry_partials();
                Next::Embed { format: table.format, k: table.columns, scale: config.embedding_scale, norm_partials }
            }
        };
        let pick = SamplePick { vocab: config.vocab, partials, next };
        let mut bindings = vec![table.shards[0].quants.clone(), table.shards[0].scales.clone()];
        bindings.extend([&space.sequence, &space.logits, &space.head_partials].map(Binding::from));
        match first_norm {
            Some(norm) => bindings.extend([&norm.weight, &buffers.residual, &buffers.weighted].map(Binding::from)),
            None => bindings.push(space.ids.whole()),
        }
        plan.push(self.gpu, &pick.dispatch(), &bindings);
        plan
    }

    /// All blocks for at most [`FEW_ROWS`] rows, and for each of them the final norm and the LM head; logits get (rows, vocab padded to a multiple of 4).
    pub(super) fn score(&self, logits: &Buffer) -> Plan {
        let mut plan = self.prefill(Width::Few, self.weights.layers.len());
        let input = self.input(&mut plan, Width::Few, Some(&self.weights.output_norm), None);
        let stride = self.config.vocab.next_multiple_of(4);
        for shard in &self.weights.head().shards {
            let finish = Finish::Store { y_stride: stride, y_first: shard.first_row, accumulate: false };
            let matvec = product(self.weights.head(), shard, self.logits(), finish);
            let bias = self.weights.output_bias.as_ref();
            self.product(&mut plan, Width::Few, input, matvec, shard, &[&self.space.sequence, logits], bias.as_slice());
        }
        plan
    }

    /// [`Planner::head`] leaves a drawn token's id for [`Planner::enter`]: the embedding is in several buffers, or more is done to it than a
    /// draw can do.
    pub(super) fn draws_ids(&self) -> bool {
        let weights = self.weights;
        let more = weights.position_embd.is_some() || weights.token_embd_norm.is_some() || self.first_deferred().is_none();
        more || weights.token_embd.shards.len() > 1
    }

    /// What the LM head's products go through.
    fn logits(&self) -> Outcome {
        Outcome {
            bias: self.weights.output_bias.is_some(),
            scale: self.config.logit_scale,
            soft_cap: self.config.logit_soft_cap,
            ..Outcome::PLAIN
        }
    }

    /// The first block's norm, if the embedding can prepare it.
    fn first_deferred(&self) -> Option<&'a NormWeights> {
        self.weights.layers.first()?.attn_norm.as_ref().filter(|norm| self.can_wait(norm))
    }

    /// Partial sums of squares that the last block leaves behind the residual stream, if it prepares the final norm.
    fn prepared_for_head(&self) -> Option<u32> {
        let last = self.weights.layers.last().filter(|_| self.can_wait(&self.weights.output_norm))?;
        Some(if last.post_ffw_norm.is_some() { 1 } else { feed_forward_partials(&last.feed_forward, self.config.embedding) })
    }

    /// Partial sums of squares that an embedding leaves: as many as a block does, so that all blocks share their kernels.
    fn entry_partials(&self) -> u32 {
        self.prepared_for_head().unwrap_or(1)
    }

    fn embed(&self, plan: &mut Plan, width: Width) {
        let (space, weights) = (self.space, self.weights);
        let buffers = &space.activations;
        let embed = |plan: &mut Plan, table: &Matrix, positions: bool, y: &Buffer| {
            for shard in &table.shards {
                let embed = Embed {
                    format: table.format,
                    first_row: shard.first_row,
                    rows: shard.rows,
                    k: table.columns,
                    y_stride: self.config.embedding,
                    scale: if positions { 1.0 } else { self.config.embedding_scale },
                    positions,
                };
                let ids = if positions { &space.sequence } else { &space.ids };
                let bindings = [shard.quants.clone(), shard.scales.clone(), ids.whole(), y.whole()];
                plan.push(self.gpu, &embed.dispatch(), &bindings);
            }
        };
        match &weights.token_embd_norm {
            None => embed(plan, &weights.token_embd, false, &buffers.residual),
            Some(norm) => {
                embed(plan, &weights.token_embd, false, &buffers.normed);
                self.norm(plan, width, norm, [&buffers.normed, &buffers.residual], NormTarget::Rows, &[]);
            }
        }
        if let Some(positions) = &weights.position_embd {
            embed(plan, positions, true, &buffers.residual);
        }
    }

    fn weigh(&self, plan: &mut Plan, norm: &NormWeights, partials: u32) {
        let buffers = &self.space.activations;
        let weigh = Weigh { k: self.config.embedding, partials };
        let bindings = [&buffers.residual, &norm.weight, &buffers.weighted].map(Binding::from);
        plan.push(self.gpu, &weigh.dispatch(self.gpu.capabilities()), &bindings);
    }
}

/// Partial sums of squares that a decode step's product with `matrix` leaves behind the residual stream.
pub(super) fn residual_partials(matrix: &Matrix) -> u32 {
    let finish = Finish::Residual { k: matrix.rows, first: 0, weighted_stride: 0, partial_first: 0 };
    matrix.shards.iter().map(|shard| product(matrix, shard, Outcome::PLAIN, finish).workgroups()).sum()
}

/// Partials that the LM head leaves for sampling.
pub(super) fn head_partials(weights: &Weights) -> u32 {
    residual_partials(weights.head())
}
