//! The plan of a transformer: the dispatches of a prefill chunk and of a decode step, with every pipeline, buffer and bind group made once.
//!
//! A block of a decode step is five dispatches, or six where the context is long:
//! q, k and v with RoPE and the cache's write · attention (· merging its stretches) · output projection onto the residual stream ·
//! gate and up with SwiGLU · down projection onto the residual stream. No norm has a dispatch: what writes the residual stream also leaves it
//! multiplied by the next norm's weight, with the sums of its squares, and what reads that divides by the root of their mean.
//! Where a file stores q, k and v, or gate and up, in different types, each type has a dispatch. Prefill has the same with a tiled matmul and
//! norms of their own.

use super::config::ModelConfig;
use super::rope;
use super::weights::{GateUp, LayerWeights, Weights};
use super::workspace::{LayerCache, Workspace};
use crate::gpu::{Binding, Buffer, Gpu, Plan};
use crate::kernels::{
    Attention, DeferredNorm, Embed, Finish, KvType, Matmul, Matvec, Next, RmsNorm, RopeKv, SamplePick, Swiglu, Weigh,
};
use crate::weights::{Matrix, Shard};

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
    fn tile(self) -> Option<u32> {
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
}

impl Planner<'_> {
    /// Many rows: their embedding and the first `layers` blocks, which leave the residual stream.
    pub(super) fn prefill(&self, width: Width, layers: usize) -> Plan {
        let mut plan = Plan::default();
        self.embed(&mut plan);
        self.blocks(&mut plan, width, layers);
        plan
    }

    /// The embedding of one id, prepared for [`Planner::decode`].
    pub(super) fn enter(&self) -> Plan {
        let mut plan = Plan::default();
        self.embed(&mut plan);
        self.weigh(&mut plan, self.first_norm());
        plan
    }

    /// The first `layers` blocks for one row, which leave it prepared for the next block or for [`Planner::head`].
    pub(super) fn decode(&self, width: Width, layers: usize) -> Plan {
        let mut plan = Plan::default();
        self.blocks(&mut plan, width, layers);
        plan
    }

    /// The last row that [`Planner::prefill`] left, prepared for [`Planner::head`].
    pub(super) fn leave(&self) -> Plan {
        let mut plan = Plan::default();
        self.weigh(&mut plan, &self.weights.output_norm);
        plan
    }

    /// The LM head for one row, and the draw of a token; unless [`Planner::embedding_is_split`], the next step's embedding too.
    pub(super) fn head(&self) -> Plan {
        let mut plan = Plan::default();
        let (config, space, buffers) = (self.config, self.space, &self.space.activations);
        let mut partials = 0;
        for shard in &self.weights.head().shards {
            let finish = Finish::Logits { vocab: config.vocab, first: shard.first_row, partial_first: partials };
            let matvec = self.deferred(self.weights.head(), shard, finish);
            let bindings = [&buffers.weighted, &space.sequence, &space.logits, &space.head_partials];
            self.product(&mut plan, Width::One, matvec, shard, &bindings);
            partials += matvec.workgroups();
        }
        let table = &self.weights.token_embd;
        let next = if self.embedding_is_split() {
            Next::Id
        } else {
            let norm_partials = residual_partials(&self.last_layer().ffn_down);
            Next::Embed { format: table.format, k: table.columns, scale: 1.0, norm_partials }
        };
        let pick = SamplePick { vocab: config.vocab, partials, next };
        let mut bindings = vec![table.shards[0].quants.clone(), table.shards[0].scales.clone()];
        bindings.extend([&space.sequence, &space.logits, &space.head_partials].map(Binding::from));
        match next {
            Next::Embed { .. } => {
                bindings.extend([self.first_norm(), &buffers.residual, &buffers.weighted].map(Binding::from));
            }
            Next::Id => bindings.push(space.ids.whole()),
        }
        plan.push(self.gpu, &pick.dispatch(), &bindings);
        plan
    }

    /// The final norm and the LM head for all rows, at most [`FEW_ROWS`], that [`Planner::prefill`] left; logits get (rows, vocab padded to a multiple of 4).
    pub(super) fn score(&self, logits: &Buffer) -> Plan {
        let mut plan = Plan::default();
        let normed = &self.space.activations.normed;
        self.norm(&mut plan, &self.weights.output_norm);
        let stride = self.config.vocab.next_multiple_of(4);
        for shard in &self.weights.head().shards {
            let finish = Finish::Store { y_stride: stride, y_first: shard.first_row, accumulate: false };
            let matvec = plain(self.weights.head(), shard, finish);
            self.product(&mut plan, Width::Few, matvec, shard, &[normed, &self.space.sequence, logits]);
        }
        plan
    }

    /// The embedding matrix is in several buffers, and [`Planner::head`] leaves a drawn token's id for [`Planner::enter`].
    pub(super) fn embedding_is_split(&self) -> bool {
        self.weights.token_embd.shards.len() > 1
    }

    fn first_norm(&self) -> &Buffer {
        &self.weights.layers[0].attn_norm
    }

    fn last_layer(&self) -> &LayerWeights {
        &self.weights.layers[self.weights.layers.len() - 1]
    }

    fn embed(&self, plan: &mut Plan) {
        let table = &self.weights.token_embd;
        for shard in &table.shards {
            let embed = Embed {
                format: table.format,
                first_row: shard.first_row,
                rows: shard.rows,
                k: table.columns,
                y_stride: self.config.embedding,
                scale: 1.0,
            };
            let bindings =
                [shard.quants.clone(), shard.scales.clone(), self.space.ids.whole(), self.space.activations.residual.whole()];
            plan.push(self.gpu, &embed.dispatch(), &bindings);
        }
    }

    fn weigh(&self, plan: &mut Plan, norm_weight: &Buffer) {
        let buffers = &self.space.activations;
        let weigh = Weigh { k: self.config.embedding, partials: residual_partials(&self.last_layer().ffn_down) };
        let bindings = [&buffers.residual, norm_weight, &buffers.weighted, &self.space.sequence].map(Binding::from);
        plan.push(self.gpu, &weigh.dispatch(self.gpu.capabilities()), &bindings);
    }

    fn blocks(&self, plan: &mut Plan, width: Width, layers: usize) {
        let all = &self.weights.layers;
        let next_norms = all.iter().skip(1).map(|layer| &layer.attn_norm).chain([&self.weights.output_norm]);
        // Who wrote the residual stream last decides how many sums of squares there are.
        let mut squares = residual_partials(&self.last_layer().ffn_down);
        for ((layer, cache), next_norm) in all.iter().zip(&self.space.caches).zip(next_norms).take(layers) {
            self.attention_half(plan, width, layer, cache, squares);
            squares = residual_partials(&layer.attn_output);
            self.feed_forward_half(plan, width, layer, next_norm, squares);
            squares = residual_partials(&layer.ffn_down);
        }
    }

    fn attention_half(&self, plan: &mut Plan, width: Width, layer: &LayerWeights, cache: &LayerCache, squares: u32) {
        let (config, space, buffers) = (self.config, self.space, &self.space.activations);
        let x = self.half_input(plan, width, &layer.attn_norm);
        for projection in &layer.qkv {
            for shard in &projection.matrix.shards {
                let finish = Finish::RopeKv(RopeKv {
                    heads: config.heads,
                    kv_heads: config.kv_heads,
                    head_dim: config.head_dim,
                    rope_dims: config.rope.dims,
                    attention_factor: rope::attention_factor(&config.rope) as f32,
                    context: space.context,
                    kv_type: space.kv_type,
                    first: projection.first + shard.first_row,
                });
                let matvec = self.half_product(&projection.matrix, shard, squares, finish);
                let bindings = [x, &space.sequence, &space.turns, &buffers.q, &cache.k, &cache.v];
                self.product(plan, width, matvec, shard, &bindings);
            }
        }
        let attention = attention(config, space.context, space.kv_type);
        let capabilities = self.gpu.capabilities();
        let bindings = |y| [&buffers.q, &cache.k, &cache.v, y, &space.sequence].map(Binding::from);
        match width {
            Width::Short => plan.push(self.gpu, &attention.decode_short(capabilities), &bindings(&buffers.attended)),
            Width::One => {
                plan.push(self.gpu, &attention.decode(capabilities), &bindings(&buffers.partials));
                let bindings = [&buffers.partials, &buffers.attended, &space.sequence].map(Binding::from);
                plan.push(self.gpu, &attention.merge(capabilities), &bindings);
            }
            Width::Few | Width::Many => plan.push(self.gpu, &attention.prefill(), &bindings(&buffers.attended)),
        }
        self.onto_residual(plan, width, &layer.attn_output, &buffers.attended, &layer.ffn_norm);
    }

    fn feed_forward_half(&self, plan: &mut Plan, width: Width, layer: &LayerWeights, next_norm: &Buffer, squares: u32) {
        let (space, buffers) = (self.space, &self.space.activations);
        let ff = self.config.feed_forward;
        let x = self.half_input(plan, width, &layer.ffn_norm);
        match (&layer.gate_up, &buffers.gate_up) {
            (GateUp::Interleaved(both), _) => {
                for shard in &both.shards {
                    let finish = Finish::Swiglu { y_stride: ff, first: shard.first_row };
                    let matvec = self.half_product(both, shard, squares, finish);
                    self.product(plan, width, matvec, shard, &[x, &space.sequence, &buffers.hidden]);
                }
            }
            (GateUp::Apart(two), Some(gate_up)) => {
                for (matrix, first) in two.iter().zip([0, ff]) {
                    for shard in &matrix.shards {
                        let finish = Finish::Store { y_stride: 2 * ff, y_first: first + shard.first_row, accumulate: false };
                        let matvec = self.half_product(matrix, shard, squares, finish);
                        self.product(plan, width, matvec, shard, &[x, &space.sequence, gate_up]);
                    }
                }
                let swiglu = Swiglu { k: ff, x_stride: 2 * ff, up_first: ff };
                plan.push(self.gpu, &swiglu.dispatch(), &[gate_up.whole(), buffers.hidden.whole()]);
            }
            (GateUp::Apart(_), None) => debug_assert!(false, "the workspace has no room for gate and up"),
        }
        self.onto_residual(plan, width, &layer.ffn_down, &buffers.hidden, next_norm);
    }

    /// What a half of a block begins with: for one row it is prepared already.
    fn half_input(&self, plan: &mut Plan, width: Width, norm_weight: &Buffer) -> &Buffer {
        if width.tile().is_none() {
            return &self.space.activations.weighted;
        }
        self.norm(plan, norm_weight);
        &self.space.activations.normed
    }

    fn norm(&self, plan: &mut Plan, weight: &Buffer) {
        let buffers = &self.space.activations;
        let norm = RmsNorm { k: self.config.embedding, epsilon: self.config.rms_epsilon };
        let bindings = [&buffers.residual, weight, &buffers.normed].map(Binding::from);
        plan.push(self.gpu, &norm.dispatch(self.gpu.capabilities()), &bindings);
    }

    /// `residual += W x`; for one row `norm_weight`'s norm is prepared as well.
    fn onto_residual(&self, plan: &mut Plan, width: Width, matrix: &Matrix, x: &Buffer, norm_weight: &Buffer) {
        let (space, buffers) = (self.space, &self.space.activations);
        let k = self.config.embedding;
        let mut partial_first = 0;
        for shard in &matrix.shards {
            let first = shard.first_row;
            if width.tile().is_some() {
                let finish = Finish::Store { y_stride: k, y_first: first, accumulate: true };
                let matvec = plain(matrix, shard, finish);
                self.product(plan, width, matvec, shard, &[x, &space.sequence, &buffers.residual]);
            } else {
                let weighted_stride = (buffers.weighted.size() / 4) as u32;
                let finish = Finish::Residual { k, first, weighted_stride, partial_first };
                let matvec = plain(matrix, shard, finish);
                let bindings = [x, &space.sequence, &buffers.residual, norm_weight, &buffers.weighted];
                self.product(plan, width, matvec, shard, &bindings);
                partial_first += matvec.workgroups();
            }
        }
    }

    /// One shard's product with a block half's input, whose norm has `squares` partial sums where it is deferred.
    fn half_product(&self, matrix: &Matrix, shard: &Shard, squares: u32, finish: Finish) -> Matvec {
        let norm = DeferredNorm { epsilon: self.config.rms_epsilon, partials: squares };
        Matvec { norm: Some(norm), ..plain(matrix, shard, finish) }
    }

    /// The LM head's product: the last layer wrote its input.
    fn deferred(&self, matrix: &Matrix, shard: &Shard, finish: Finish) -> Matvec {
        self.half_product(matrix, shard, residual_partials(&self.last_layer().ffn_down), finish)
    }

    /// Bindings: x and those of the finish.
    fn product(&self, plan: &mut Plan, width: Width, matvec: Matvec, shard: &Shard, bindings: &[&Buffer]) {
        let dispatch = match width.tile() {
            None => matvec.dispatch(self.gpu.capabilities()),
            Some(tile_tokens) => {
                let Matvec { format, rows, k, x_stride, finish, .. } = matvec;
                Matmul { format, rows, k, x_stride, tile_tokens, finish }.dispatch()
            }
        };
        let mut all = vec![shard.quants.clone(), shard.scales.clone()];
        all.extend(bindings.iter().map(|buffer| buffer.whole()));
        plan.push(self.gpu, &dispatch, &all);
    }
}

/// One shard's product with x as it is.
fn plain(matrix: &Matrix, shard: &Shard, finish: Finish) -> Matvec {
    let (rows, k) = (shard.rows, matrix.columns);
    Matvec { format: matrix.format, rows, k, vectors: 1, x_stride: k, norm: None, finish }
}

/// Partial sums of squares that a decode step's product with `matrix` leaves behind the residual stream.
pub(super) fn residual_partials(matrix: &Matrix) -> u32 {
    let finish = Finish::Residual { k: matrix.rows, first: 0, weighted_stride: 0, partial_first: 0 };
    matrix.shards.iter().map(|shard| plain(matrix, shard, finish).workgroups()).sum()
}

/// Partials that the LM head leaves for sampling.
pub(super) fn head_partials(weights: &Weights) -> u32 {
    residual_partials(weights.head())
}

pub(super) fn attention(config: &ModelConfig, context: u32, kv_type: KvType) -> Attention {
    Attention {
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        context,
        kv_type,
        scale: 1.0 / (config.head_dim as f32).sqrt(),
    }
}
