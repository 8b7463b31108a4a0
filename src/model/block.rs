//! A transformer block as dispatches: attention's half and the feed-forward network's, in decode and in prefill.
//!
//! In decode a half of the usual block begins and ends without a dispatch of its own: what writes the residual stream also leaves it multiplied
//! by the next norm's weight, with the sums of its squares, and what reads that divides by the root of their mean. Norms that cannot be put
//! off so (LayerNorm; norms behind a half; many rows) are dispatches.

use super::cache::{Kv, Segment};
use super::config::ModelConfig;
use super::plan::{Planner, Width, residual_partials};
use super::weights::{Dense, FeedForward, GateUp, LayerWeights, Linear, NormWeights, QkvBias, Up};
use crate::gpu::{Binding, Buffer, Plan};
use crate::kernels::{
    Attention, DeferredNorm, Finish, Gated, HeadNorm, Heads, KvType, Matmul, Matvec, Norm, NormKind, NormTarget, Outcome, RopeKv,
};
use crate::weights::{Matrix, Shard};

/// What a product reads, and the norm that it completes.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) x: &'a Buffer,
    pub(super) norm: Option<DeferredNorm>,
}

/// Partial sums of squares behind the prepared residual stream, if it is prepared.
pub(super) type Prepared = Option<u32>;

impl<'a> Planner<'a> {
    /// The first `layers` blocks. In decode the residual stream may be prepared for the first of them; returns whether it is for what follows.
    pub(super) fn blocks(&self, plan: &mut Plan, width: Width, layers: usize, mut prepared: Prepared) -> Prepared {
        let all = &self.weights.layers;
        let last = Some(&self.weights.output_norm);
        let next_norms = all.iter().skip(1).map(|layer| layer.attn_norm.as_ref()).chain([last]);
        for (index, (layer, next_norm)) in all.iter().zip(next_norms).take(layers).enumerate() {
            prepared = self.block(plan, width, index, layer, next_norm, prepared);
        }
        prepared
    }

    fn block(
        &self,
        plan: &mut Plan,
        width: Width,
        index: usize,
        layer: &LayerWeights,
        next_norm: Option<&NormWeights>,
        prepared: Prepared,
    ) -> Prepared {
        let input = self.input(plan, width, layer.attn_norm.as_ref(), prepared);
        self.place(plan, width, index, layer, input);
        self.attend(plan, width, index);
        self.rest(plan, width, layer, next_norm, Some(input))
    }

    /// A block from behind its attention on; `input`: what attention began with, if that is there.
    pub(super) fn rest(
        &self,
        plan: &mut Plan,
        width: Width,
        layer: &LayerWeights,
        next_norm: Option<&NormWeights>,
        input: Option<Input<'_>>,
    ) -> Prepared {
        let buffers = &self.space.activations;
        let output = |plan: &mut Plan, next| {
            let post_norm = layer.post_attention_norm.as_ref().zip(buffers.attention_output.as_ref());
            self.onto_residual(plan, width, &layer.attn_output, &buffers.attended, post_norm, next)
        };
        if self.config.parallel {
            // Both halves read the residual stream as it was: it is written when both have.
            let input = match (&layer.ffn_norm, input) {
                (None, Some(input)) => input,
                (None, None) => self.input(plan, width, layer.attn_norm.as_ref(), None),
                (norm, _) => self.input(plan, width, norm.as_ref(), None),
            };
            self.feed(plan, width, &layer.feed_forward, input);
            output(plan, None);
        } else {
            let prepared = output(plan, layer.ffn_norm.as_ref());
            let input = self.input(plan, width, layer.ffn_norm.as_ref(), prepared);
            self.feed(plan, width, &layer.feed_forward, input);
        }
        match &layer.feed_forward {
            FeedForward::Dense(Dense { down, .. }) => {
                let post_norm = layer.post_ffw_norm.as_ref().zip(buffers.feed_output.as_ref());
                self.onto_residual(plan, width, down, &buffers.hidden, post_norm, next_norm)
            }
            FeedForward::Experts(experts) => self.experts_down(plan, width, experts, next_norm),
        }
    }

    /// What a half begins with.
    pub(super) fn input(&self, plan: &mut Plan, width: Width, norm: Option<&NormWeights>, prepared: Prepared) -> Input<'a> {
        let buffers = &self.space.activations;
        match (norm, prepared) {
            (None, _) => Input { x: &buffers.residual, norm: None },
            (Some(norm), Some(partials)) if width.tile().is_none() && self.can_wait(norm) => {
                Input { x: &buffers.weighted, norm: Some(DeferredNorm { epsilon: self.config.epsilon, partials }) }
            }
            (Some(norm), _) => {
                self.norm(plan, width, norm, [&buffers.residual, &buffers.normed], NormTarget::Rows, &[]);
                Input { x: &buffers.normed, norm: None }
            }
        }
    }

    /// The product behind a norm can complete it.
    pub(super) fn can_wait(&self, norm: &NormWeights) -> bool {
        self.config.norm == NormKind::Rms && norm.bias.is_none()
    }

    /// A norm, and what its target needs besides y.
    pub(super) fn norm(
        &self,
        plan: &mut Plan,
        width: Width,
        weights: &NormWeights,
        [x, y]: [&Buffer; 2],
        target: NormTarget,
        more: &[&Buffer],
    ) {
        let workgroup = width.tile().map_or(Norm::ONE_ROW, |_| self.tuning.start.matmul.subgroup);
        let ModelConfig { norm: kind, embedding: k, epsilon, .. } = *self.config;
        let norm = Norm { kind, k, epsilon, bias: weights.bias.is_some(), target, workgroup };
        let mut bindings: Vec<Binding> = [x, &weights.weight, y].map(Binding::from).into();
        bindings.extend(more.iter().map(|buffer| buffer.whole()));
        bindings.extend(weights.bias.iter().map(Buffer::whole));
        plan.push(self.gpu, &norm.dispatch(self.gpu.capabilities()), &bindings);
    }

    /// Queries, and in the cache keys and values.
    pub(super) fn place(&self, plan: &mut Plan, width: Width, index: usize, layer: &LayerWeights, input: Input<'_>) {
        let (space, buffers) = (self.space, &self.space.activations);
        let (cache, qkv) = (&space.cache, &layer.qkv);
        let Some(written) = cache.layer(index, self.segment).last() else { return };
        let rope = rope_kv(self.config, index as u32, cache.context, written.segment, cache.kv_type);
        let placed = [&buffers.q, &written.k, &written.v];
        let between = buffers.qkv.as_ref().filter(|_| qkv.between);
        for projection in &qkv.projections {
            for shard in &projection.matrix.shards {
                let first = projection.first + shard.first_row;
                match between {
                    None => {
                        let outcome = Outcome { bias: matches!(qkv.bias, QkvBias::BehindTurns), ..Outcome::PLAIN };
                        let finish = Finish::RopeKv { heads: rope, first };
                        let mut bindings = vec![&space.sequence, &qkv.turns];
                        bindings.extend(placed);
                        let matvec = product(&projection.matrix, shard, outcome, finish);
                        self.product(plan, width, input, matvec, shard, &bindings, &[]);
                    }
                    Some(rows) => {
                        let bias = match &qkv.bias {
                            QkvBias::Own(bias) => Some(bias),
                            _ => None,
                        };
                        let outcome = Outcome { bias: bias.is_some(), ..Outcome::PLAIN };
                        let y_stride = (rope.heads + 2 * rope.kv_heads) * rope.head_dim;
                        let finish = Finish::Store { y_stride, y_first: first, accumulate: false };
                        let matvec = product(&projection.matrix, shard, outcome, finish);
                        self.product(plan, width, input, matvec, shard, &[&space.sequence, rows], bias.as_slice());
                    }
                }
            }
        }
        if let Some(rows) = between {
            let norm =
                qkv.norm.as_ref().map(|(over, _)| HeadNorm { kind: self.config.norm, epsilon: self.config.epsilon, over: *over });
            let weights = match &qkv.norm {
                Some((_, [query, key])) => [query, key],
                None => [rows, rows],
            };
            let heads = Heads { rope, clamp: self.config.clamp, norm };
            let bindings = [&[rows, &space.sequence, &qkv.turns][..], &weights, &placed].concat();
            let bindings: Vec<Binding> = bindings.into_iter().map(Binding::from).collect();
            plan.push(self.gpu, &heads.dispatch(self.gpu.capabilities()), &bindings);
        }
    }

    /// Attention to the cache's segments up to the one that has just been written, to `attended`.
    pub(super) fn attend(&self, plan: &mut Plan, width: Width, index: usize) {
        let (space, buffers) = (self.space, &self.space.activations);
        let Some((last, before)) = space.cache.layer(index, self.segment).split_last() else { return };
        let capabilities = self.gpu.capabilities();
        let variant = self.tuning.attention_of(self.config, space.cache.kv_type);
        let run = space.cache.run(variant.run);
        let of = |kv: &Kv| Attention {
            run,
            ..attention(self.config, index as u32, space.cache.context, kv.segment, space.cache.kv_type)
        };
        let bindings = |kv: &Kv, y| [&buffers.q, &kv.k, &kv.v, y, &space.sequence].map(Binding::from).to_vec();
        match width {
            Width::Short => plan.push(self.gpu, &of(last).decode_short(capabilities), &bindings(last, &buffers.attended)),
            Width::One => {
                for kv in before.iter().chain([last]) {
                    plan.push(self.gpu, &of(kv).decode(capabilities), &bindings(kv, &buffers.partials));
                }
                let bindings = [&buffers.partials, &buffers.attended, &space.sequence].map(Binding::from);
                plan.push(self.gpu, &of(last).merge(), &bindings);
            }
            Width::Few | Width::Many => {
                let carried = buffers.carried.as_ref().filter(|_| !before.is_empty());
                let bindings = |kv| [bindings(kv, &buffers.attended), carried.map(Buffer::whole).into_iter().collect()].concat();
                let tiling = variant.tiling;
                for kv in before {
                    plan.push(self.gpu, &of(kv).prefill_more(capabilities, tiling), &bindings(kv));
                }
                plan.push(self.gpu, &of(last).prefill(capabilities, tiling), &bindings(last));
            }
        }
    }

    /// The feed-forward network up to `hidden`.
    fn feed(&self, plan: &mut Plan, width: Width, feed_forward: &FeedForward, input: Input<'_>) {
        let hidden = &self.space.activations.hidden;
        match feed_forward {
            FeedForward::Dense(Dense { up, .. }) => self.up(plan, width, up, input, self.config.feed_forward, hidden, None),
            FeedForward::Experts(experts) => self.experts_up(plan, width, experts, input),
        }
    }

    /// `ff` hidden numbers for each row, times that row's weight where there is a buffer of weights.
    #[allow(clippy::too_many_arguments, reason = "a network is described by no less")]
    pub(super) fn up(
        &self,
        plan: &mut Plan,
        width: Width,
        up: &Up,
        input: Input<'_>,
        ff: u32,
        hidden: &Buffer,
        weights: Option<&Buffer>,
    ) {
        let (space, buffers) = (self.space, &self.space.activations);
        let activation = self.config.activation;
        debug_assert!(weights.is_none() || matches!(up, Up::Gated(GateUp::Interleaved(_))), "the loader sees to it");
        match up {
            Up::Gated(GateUp::Interleaved(both)) => {
                for shard in &both.shards {
                    let finish = Finish::Gated { activation, weighted: weights.is_some(), y_stride: ff, first: shard.first_row };
                    let matvec = product(both, shard, Outcome::PLAIN, finish);
                    self.product(plan, width, input, matvec, shard, &[&space.sequence, hidden], weights.as_slice());
                }
            }
            Up::Gated(GateUp::Apart(two, bias)) => {
                let Some(gate_up) = &buffers.gate_up else { return debug_assert!(false, "no room for gate and up") };
                for (matrix, first) in two.iter().zip([0, ff]) {
                    let outcome = Outcome { bias: bias.is_some(), ..Outcome::PLAIN };
                    self.store(plan, width, input, matrix, outcome, [2 * ff, first], gate_up, bias.as_ref());
                }
                let gated = Gated { activation, k: ff, x_stride: 2 * ff, up_first: ff };
                plan.push(self.gpu, &gated.dispatch(), &[gate_up.whole(), hidden.whole()]);
            }
            Up::Plain(Linear { matrix, bias }) => {
                let outcome = Outcome { bias: bias.is_some(), activation, ..Outcome::PLAIN };
                self.store(plan, width, input, matrix, outcome, [ff, 0], hidden, bias.as_ref());
            }
        }
    }

    /// A product to rows of y, `stride` apart, from `first` on.
    #[allow(clippy::too_many_arguments, reason = "a product is described by no less")]
    pub(super) fn store(
        &self,
        plan: &mut Plan,
        width: Width,
        input: Input<'_>,
        matrix: &Matrix,
        outcome: Outcome,
        [stride, first]: [u32; 2],
        y: &Buffer,
        bias: Option<&Buffer>,
    ) {
        for shard in &matrix.shards {
            let finish = Finish::Store { y_stride: stride, y_first: first + shard.first_row, accumulate: false };
            let matvec = product(matrix, shard, outcome, finish);
            self.product(plan, width, input, matvec, shard, &[&self.space.sequence, y], bias.as_slice());
        }
    }

    /// `residual += W x`, through `post_norm` if there is one, by way of the buffer beside it; for one row `next_norm` is prepared if it can wait.
    pub(super) fn onto_residual(
        &self,
        plan: &mut Plan,
        width: Width,
        Linear { matrix, bias }: &Linear,
        x: &Buffer,
        post_norm: Option<(&NormWeights, &Buffer)>,
        next_norm: Option<&NormWeights>,
    ) -> Prepared {
        let (space, buffers) = (self.space, &self.space.activations);
        let ModelConfig { embedding: k, residual_scale: scale, .. } = *self.config;
        let next_norm = next_norm.filter(|norm| width.tile().is_none() && self.can_wait(norm));
        let input = Input { x, norm: None };
        let bias = bias.as_ref();
        let outcome = Outcome { bias: bias.is_some(), scale, ..Outcome::PLAIN };
        if let Some((post_norm, products)) = post_norm {
            let outcome = Outcome { scale: 1.0, ..outcome };
            self.store(plan, width, input, matrix, outcome, [k, 0], products, bias);
            let Some(next) = next_norm else {
                self.norm(plan, width, post_norm, [products, &buffers.residual], NormTarget::Residual { scale }, &[]);
                return None;
            };
            let more = [&next.weight, &buffers.weighted];
            self.norm(plan, width, post_norm, [products, &buffers.residual], NormTarget::Prepared { scale }, &more);
            return Some(1);
        }
        let Some(next) = next_norm else {
            for shard in &matrix.shards {
                let finish = Finish::Store { y_stride: k, y_first: shard.first_row, accumulate: true };
                let matvec = product(matrix, shard, outcome, finish);
                self.product(plan, width, input, matvec, shard, &[&space.sequence, &buffers.residual], bias.as_slice());
            }
            return None;
        };
        let mut partial_first = 0;
        for shard in &matrix.shards {
            let weighted_stride = (buffers.weighted.size() / 4) as u32;
            let finish = Finish::Residual { k, first: shard.first_row, weighted_stride, partial_first };
            let matvec = product(matrix, shard, outcome, finish);
            let bindings = [&space.sequence, &buffers.residual, &next.weight, &buffers.weighted];
            self.product(plan, width, input, matvec, shard, &bindings, bias.as_slice());
            partial_first += matvec.workgroups();
        }
        debug_assert_eq!(partial_first, residual_partials(matrix));
        Some(partial_first)
    }

    /// Bindings: those of the finish, and what comes behind them.
    #[allow(clippy::too_many_arguments, reason = "a product is described by no less")]
    pub(super) fn product(
        &self,
        plan: &mut Plan,
        width: Width,
        input: Input<'_>,
        matvec: Matvec,
        shard: &Shard,
        bindings: &[&Buffer],
        more: &[&Buffer],
    ) {
        let dispatch = match width.tile() {
            None => Matvec { norm: input.norm, ..matvec }.dispatch(self.gpu.capabilities()),
            Some(tile_tokens) => {
                let Matvec { format, rows, k, x_stride, experts, outcome, finish, .. } = matvec;
                let variant = shard.variants.matmul;
                Matmul { format, rows, k, x_stride, tile_tokens, experts, variant, outcome, finish }
                    .dispatch(self.gpu.capabilities())
            }
        };
        let mut all = vec![shard.quants.clone(), shard.scales.clone(), input.x.whole()];
        all.extend(bindings.iter().chain(more).map(|buffer| buffer.whole()));
        plan.push(self.gpu, &dispatch, &all);
    }
}

/// One shard's product.
pub(super) fn product(matrix: &Matrix, shard: &Shard, outcome: Outcome, finish: Finish) -> Matvec {
    let (rows, k) = (shard.rows, matrix.columns);
    Matvec {
        format: matrix.format,
        rows,
        k,
        vectors: 1,
        x_stride: k,
        norm: None,
        experts: None,
        variant: shard.variants.matvec,
        outcome,
        finish,
    }
}

fn rope_kv(config: &ModelConfig, layer: u32, context: u32, segment: Segment, kv_type: KvType) -> RopeKv {
    let rope = config.rope_of(layer);
    RopeKv {
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        rope_dims: rope.map_or(0, |rope| rope.dims),
        attention_factor: rope.map_or(1.0, |rope| rope.attention_factor) as f32,
        temperature: config.temperature,
        context: if config.window_of(layer) > 0 { context } else { segment.end() },
        capacity: segment.positions,
        first: segment.first,
        kv_type,
    }
}

pub(super) fn attention(config: &ModelConfig, layer: u32, context: u32, segment: Segment, kv_type: KvType) -> Attention {
    Attention {
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        context,
        capacity: segment.positions,
        first: segment.first,
        window: config.window_of(layer),
        run: 1,
        kv_type,
        scale: config.attention_scale,
        soft_cap: config.attention_soft_cap,
        alibi: config.alibi,
    }
}
