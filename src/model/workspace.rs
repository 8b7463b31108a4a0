//! Every buffer of a model that is not a weight: the KV cache, the activations, and what says which step it is.

use super::block::attention;
use super::config::{Experts, ModelConfig};
use super::experts::feed_forward_partials;
use super::plan::residual_partials;
use super::weights::{Dense, FeedForward, GateUp, LayerWeights, Up, Weights};
use crate::gpu::{Buffer, Gpu, GpuError};
use crate::kernels::{CHOICE_BYTES, GroupChoices, KvType, SamplePick, Sequence};

/// Token rows of the largest prefill chunk.
pub(super) const CHUNK: u32 = 256;

/// Keys and values of one layer, `[kv head][slot][head_dim]` each.
pub(super) struct LayerCache {
    /// Positions that it holds: all, or the last so many in a layer with a window.
    pub(super) capacity: u32,
    pub(super) k: Buffer,
    pub(super) v: Buffer,
}

/// What flows between the kernels of a step. Rows are token rows; every buffer of rows has room for [`CHUNK`] of them.
pub(super) struct Activations {
    /// The residual stream, (rows, embedding).
    pub(super) residual: Buffer,
    /// One row of the residual stream times the next norm's weight, and behind it the sums of its squares.
    pub(super) weighted: Buffer,
    /// Normed input of a block's half, or its output on the way to a norm, (rows, embedding).
    pub(super) normed: Buffer,
    /// Queries, keys and values on the way to their places, (rows, all heads · head_dim), where something comes between.
    pub(super) qkv: Option<Buffer>,
    /// Turned queries, (rows, heads · head_dim).
    pub(super) q: Buffer,
    /// Attention's output, (rows, heads · head_dim).
    pub(super) attended: Buffer,
    /// Split attention's partial results.
    pub(super) partials: Buffer,
    /// (rows, gate | up), in models where these are apart.
    pub(super) gate_up: Option<Buffer>,
    /// (rows, feed_forward), or (rows · experts of a token, feed_forward of an expert)
    pub(super) hidden: Buffer,
    /// In a mixture of experts.
    pub(super) routing: Option<Routing>,
}

/// What a mixture of experts needs.
pub(super) struct Routing {
    /// Of the router, (rows, experts and the shared expert's gate).
    pub(super) logits: Buffer,
    /// The chosen experts and their weights, (rows, experts of a token).
    pub(super) choices: Buffer,
    /// Weights of the shared expert, in the form of choices, (rows).
    pub(super) shared_weights: Buffer,
    /// For each expert how many choices it is, and which.
    pub(super) lists: Buffer,
    /// (rows, feed_forward of the shared expert)
    pub(super) shared_hidden: Buffer,
    /// (rows · experts of a token, embedding)
    pub(super) outputs: Buffer,
}

/// All of them.
pub(super) struct Workspace {
    pub(super) context: u32,
    pub(super) kv_type: KvType,
    pub(super) caches: Vec<LayerCache>,
    /// A [`Sequence`], which begins with the step.
    pub(super) sequence: Buffer,
    /// Ids of the step's tokens, where it does not begin with what was drawn.
    pub(super) ids: Buffer,
    pub(super) activations: Activations,
    /// Logits of one row.
    pub(super) logits: Buffer,
    /// What the LM head's workgroups leave for sampling.
    pub(super) head_partials: Buffer,
}

impl Workspace {
    pub(super) fn new(
        gpu: &Gpu,
        config: &ModelConfig,
        weights: &Weights,
        context: u32,
        kv_type: KvType,
        head_partials: u32,
    ) -> Result<Self, GpuError> {
        let rows = |label: &str, width: u32| gpu.buffer(label, 4 * u64::from(CHUNK) * u64::from(width));
        let q_width = config.heads * config.head_dim;
        let squares = weights
            .layers
            .iter()
            .flat_map(|layer| {
                let down = feed_forward_partials(&layer.feed_forward, config.embedding);
                [residual_partials(&layer.attn_output.matrix), down]
            })
            .max();
        let apart = |layer: &LayerWeights| match &layer.feed_forward {
            FeedForward::Dense(Dense { up, .. }) => matches!(up, Up::Gated(GateUp::Apart(..))),
            FeedForward::Experts(_) => false,
        };
        let apart = weights.layers.iter().any(apart);
        let hidden_width = config.experts.map_or(0, |experts| experts.used * experts.feed_forward).max(config.feed_forward);
        let between = weights.layers.iter().any(|layer| layer.qkv.between);
        let all_heads = q_width + 2 * config.kv_heads * config.head_dim;
        let activations = Activations {
            residual: rows("residual", config.embedding)?,
            weighted: gpu.buffer("weighted", 4 * u64::from(config.embedding) + 16 * u64::from(squares.unwrap_or(1)))?,
            normed: rows("normed", config.embedding)?,
            qkv: if between { Some(rows("q, k and v", all_heads)?) } else { None },
            q: rows("q", q_width)?,
            attended: rows("attended", q_width)?,
            partials: gpu.buffer("attention partials", attention(config, 0, context, context, kv_type).partials_bytes())?,
            gate_up: if apart { Some(rows("gate and up", 2 * config.feed_forward)?) } else { None },
            hidden: rows("hidden", hidden_width)?,
            routing: config.experts.map(|experts| Routing::new(gpu, &experts, config.embedding)).transpose()?,
        };
        let caches = (0..config.layers)
            .map(|layer| {
                let capacity = capacity(config, layer, context);
                let bytes = kv_type.bytes(capacity, config.kv_heads, config.head_dim);
                Ok(LayerCache { capacity, k: gpu.buffer("keys", bytes)?, v: gpu.buffer("values", bytes)? })
            })
            .collect::<Result<_, GpuError>>()?;
        Ok(Self {
            context,
            kv_type,
            caches,
            sequence: gpu.buffer("sequence", Sequence::bytes(config.vocab))?,
            ids: gpu.buffer("ids", 4 * u64::from(CHUNK))?,
            activations,
            logits: gpu.buffer("logits", 4 * u64::from(config.vocab.next_multiple_of(4)))?,
            head_partials: gpu.buffer("sampling partials", SamplePick::partials_bytes(head_partials))?,
        })
    }

    /// Bytes of all layers' keys and values.
    pub(super) fn kv_bytes(&self) -> u64 {
        self.caches.iter().map(|cache| cache.k.size() + cache.v.size()).sum()
    }
}

/// Positions that a layer's cache holds: where it has a window, that and the rows of a chunk, which are written before any of them attends.
fn capacity(config: &ModelConfig, layer: u32, context: u32) -> u32 {
    match config.window_of(layer) {
        0 => context,
        window => context.min(window.saturating_add(CHUNK)),
    }
}

impl Routing {
    fn new(gpu: &Gpu, experts: &Experts, embedding: u32) -> Result<Self, GpuError> {
        let rows = u64::from(CHUNK);
        let Experts { count, used, shared, .. } = *experts;
        Ok(Self {
            logits: gpu.buffer("router logits", 4 * rows * u64::from(experts.logits_stride()))?,
            choices: gpu.buffer("choices", CHOICE_BYTES * rows * u64::from(used))?,
            shared_weights: gpu.buffer("weights of the shared expert", CHOICE_BYTES * rows)?,
            lists: gpu.buffer("lists of choices", GroupChoices { experts: count, used, rows: CHUNK }.bytes())?,
            shared_hidden: gpu.buffer("hidden of the shared expert", 4 * rows * u64::from(shared.max(4)))?,
            outputs: gpu.buffer("outputs of experts", 4 * rows * u64::from(used) * u64::from(embedding))?,
        })
    }
}
