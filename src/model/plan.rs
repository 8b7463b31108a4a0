//! The plan of a transformer: the dispatches of a prefill chunk and of a decode step, with every pipeline, buffer and bind group made once.

use super::config::ModelConfig;
use super::rope;
use super::weights::{LayerWeights, Projection, Weights};
use crate::gpu::{Binding, Buffer, Gpu, GpuError, Plan};
use crate::kernels::{Attention, Embed, KvType, Matmul, Matvec, RmsNorm, RopeKv, Swiglu, rope_turns};
use crate::weights::Matrix;

/// Token rows of the largest prefill chunk.
pub(super) const CHUNK: u32 = 256;

/// How a plan runs its projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// One token row: matvec and split attention.
    One,
    /// Many token rows: tiled matmul and tiled attention.
    Many,
}

/// Keys and values of one layer, `[kv head][position][head_dim]` each.
struct LayerCache {
    k: Buffer,
    v: Buffer,
}

/// What flows between the kernels of a step. Rows are token rows; every buffer has room for [`CHUNK`] of them.
pub(super) struct Activations {
    /// The residual stream, (rows, embedding).
    pub(super) x: Buffer,
    /// Normed input of a block's half, (rows, embedding).
    normed: Buffer,
    /// (rows, q | k | v)
    qkv: Buffer,
    /// Rotated queries, (rows, heads · head_dim).
    q: Buffer,
    /// Attention's output, (rows, heads · head_dim).
    attended: Buffer,
    /// Split attention's partial results.
    partials: Buffer,
    /// (rows, gate | up)
    gate_up: Buffer,
    /// (rows, feed_forward)
    hidden: Buffer,
}

/// Every buffer of a model that is not a weight: KV cache, activations, and what says which step it is.
pub(super) struct Workspace {
    pub(super) context: u32,
    pub(super) kv_type: KvType,
    caches: Vec<LayerCache>,
    turns: Buffer,
    /// One [`crate::kernels::Step`].
    pub(super) step: Buffer,
    /// The step's token ids.
    pub(super) ids: Buffer,
    pub(super) activations: Activations,
}

impl Workspace {
    pub(super) fn new(gpu: &Gpu, config: &ModelConfig, weights: &Weights, context: u32, kv_type: KvType) -> Result<Self, GpuError> {
        let rows = |label: &str, width: u32| gpu.buffer(label, 4 * u64::from(CHUNK) * u64::from(width));
        let q_width = config.heads * config.head_dim;
        let kv_width = config.kv_heads * config.head_dim;
        let activations = Activations {
            x: rows("residual", config.embedding)?,
            normed: rows("normed", config.embedding)?,
            qkv: rows("qkv", q_width + 2 * kv_width)?,
            q: rows("q", q_width)?,
            attended: rows("attended", q_width)?,
            partials: gpu.buffer("attention partials", attention(config, context, kv_type).partials_bytes())?,
            gate_up: rows("gate and up", 2 * config.feed_forward)?,
            hidden: rows("hidden", config.feed_forward)?,
        };
        let cache_bytes = kv_type.bytes(context, config.kv_heads, config.head_dim);
        let caches = (0..config.layers)
            .map(|_| Ok(LayerCache { k: gpu.buffer("keys", cache_bytes)?, v: gpu.buffer("values", cache_bytes)? }))
            .collect::<Result<_, GpuError>>()?;
        let frequencies = rope::frequencies(&config.rope, weights.rope_factors.as_deref());
        Ok(Self {
            context,
            kv_type,
            caches,
            turns: gpu.upload("rope turns", &rope_turns(&frequencies))?,
            step: gpu.buffer("step", 16)?,
            ids: gpu.buffer("ids", 4 * u64::from(CHUNK))?,
            activations,
        })
    }

    /// Bytes of all layers' keys and values.
    pub(super) fn kv_bytes(&self) -> u64 {
        self.caches.iter().map(|cache| cache.k.size() + cache.v.size()).sum()
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
    /// Embedding and the first `layers` blocks; leaves the residual stream in `activations.x`.
    pub(super) fn blocks(&self, width: Width, layers: usize) -> Plan {
        let mut plan = Plan::default();
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
            let bindings = [shard.quants.clone(), shard.scales.clone(), self.space.ids.whole(), self.space.activations.x.whole()];
            plan.push(self.gpu, &embed.dispatch(), &bindings);
        }
        for (weights, cache) in self.weights.layers.iter().zip(&self.space.caches).take(layers) {
            self.attention_half(&mut plan, width, weights, cache);
            self.feed_forward_half(&mut plan, width, weights);
        }
        plan
    }

    /// The final norm of the step's last row and the LM head: logits of one row.
    pub(super) fn head(&self, logits: &Buffer) -> Plan {
        let mut plan = Plan::default();
        let normed = &self.space.activations.normed;
        self.norm(&mut plan, &self.space.activations.x, &self.weights.output_norm, normed, true);
        self.head_projection(&mut plan, Width::One, normed, logits);
        plan
    }

    /// The final norm and the LM head for all rows.
    pub(super) fn head_of_all(&self, logits: &Buffer) -> Plan {
        let mut plan = Plan::default();
        let normed = &self.space.activations.normed;
        self.norm(&mut plan, &self.space.activations.x, &self.weights.output_norm, normed, false);
        self.head_projection(&mut plan, Width::Many, normed, logits);
        plan
    }

    fn head_projection(&self, plan: &mut Plan, width: Width, normed: &Buffer, logits: &Buffer) {
        let stride = self.config.vocab.next_multiple_of(4);
        self.project(plan, width, self.weights.head(), 0, normed, logits, stride, false);
    }

    fn attention_half(&self, plan: &mut Plan, width: Width, weights: &LayerWeights, cache: &LayerCache) {
        let config = self.config;
        let buffers = &self.space.activations;
        let q_width = config.heads * config.head_dim;
        let qkv_width = q_width + 2 * config.kv_heads * config.head_dim;
        self.norm(plan, &buffers.x, &weights.attn_norm, &buffers.normed, false);
        self.projections(plan, width, &weights.qkv, &buffers.normed, &buffers.qkv, qkv_width);
        let rope_kv = RopeKv {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            rope_dims: config.rope.dims,
            layout: config.rope.layout,
            attention_factor: rope::attention_factor(&config.rope) as f32,
            qkv_stride: qkv_width,
            q_first: 0,
            k_first: q_width,
            v_first: q_width + config.kv_heads * config.head_dim,
            context: self.space.context,
            kv_type: self.space.kv_type,
        };
        let bindings = [&buffers.qkv, &self.space.turns, &buffers.q, &cache.k, &cache.v, &self.space.step].map(Binding::from);
        plan.push(self.gpu, &rope_kv.dispatch(), &bindings);
        let attention = attention(config, self.space.context, self.space.kv_type);
        match width {
            Width::One => {
                let bindings = [&buffers.q, &cache.k, &cache.v, &buffers.partials, &self.space.step].map(Binding::from);
                plan.push(self.gpu, &attention.decode(self.gpu.capabilities()), &bindings);
                let bindings = [&buffers.partials, &buffers.attended, &self.space.step].map(Binding::from);
                plan.push(self.gpu, &attention.merge(self.gpu.capabilities()), &bindings);
            }
            Width::Many => {
                let bindings = [&buffers.q, &cache.k, &cache.v, &buffers.attended, &self.space.step].map(Binding::from);
                plan.push(self.gpu, &attention.prefill(), &bindings);
            }
        }
        let output = &weights.attn_output;
        self.project(plan, width, &output.matrix, output.first, &buffers.attended, &buffers.x, config.embedding, true);
    }

    fn feed_forward_half(&self, plan: &mut Plan, width: Width, weights: &LayerWeights) {
        let config = self.config;
        let buffers = &self.space.activations;
        let ff = config.feed_forward;
        self.norm(plan, &buffers.x, &weights.ffn_norm, &buffers.normed, false);
        self.projections(plan, width, &weights.gate_up, &buffers.normed, &buffers.gate_up, 2 * ff);
        let swiglu = Swiglu { k: ff, x_stride: 2 * ff, up_first: ff };
        plan.push(self.gpu, &swiglu.dispatch(), &[buffers.gate_up.whole(), buffers.hidden.whole()]);
        let down = &weights.ffn_down;
        self.project(plan, width, &down.matrix, down.first, &buffers.hidden, &buffers.x, config.embedding, true);
    }

    fn norm(&self, plan: &mut Plan, x: &Buffer, weight: &Buffer, y: &Buffer, last_row: bool) {
        let norm = RmsNorm { k: self.config.embedding, epsilon: self.config.rms_epsilon, last_row };
        let bindings = [x, weight, y, &self.space.step].map(Binding::from);
        plan.push(self.gpu, &norm.dispatch(self.gpu.capabilities()), &bindings);
    }

    fn projections(&self, plan: &mut Plan, width: Width, projections: &[Projection], x: &Buffer, y: &Buffer, y_stride: u32) {
        for projection in projections {
            self.project(plan, width, &projection.matrix, projection.first, x, y, y_stride, false);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a product has these operands")]
    fn project(
        &self,
        plan: &mut Plan,
        width: Width,
        matrix: &Matrix,
        first: u32,
        x: &Buffer,
        y: &Buffer,
        y_stride: u32,
        accumulate: bool,
    ) {
        for shard in &matrix.shards {
            let (format, rows, k, x_stride) = (matrix.format, shard.rows, matrix.columns, matrix.columns);
            let y_first = first + shard.first_row;
            let mut bindings = vec![shard.quants.clone(), shard.scales.clone(), x.whole(), y.whole()];
            let dispatch = match width {
                Width::One => Matvec { format, rows, k, vectors: 1, x_stride, y_stride, y_first, accumulate }
                    .dispatch(self.gpu.capabilities()),
                Width::Many => {
                    bindings.push(self.space.step.whole());
                    Matmul { format, rows, k, x_stride, y_stride, y_first, accumulate }.dispatch()
                }
            };
            plan.push(self.gpu, &dispatch, &bindings);
        }
    }
}

fn attention(config: &ModelConfig, context: u32, kv_type: KvType) -> Attention {
    Attention {
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        context,
        kv_type,
        scale: 1.0 / (config.head_dim as f32).sqrt(),
    }
}
