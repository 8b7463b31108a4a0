//! Every buffer of a model that is not a weight: the KV cache, the activations, and what says which step it is.

use super::arena::{Activation, Arena, ArenaPlan, CHUNK, Shape};
use super::config::ModelConfig;
use super::experts::feed_forward_partials;
use super::plan::residual_partials;
use super::weights::{Dense, FeedForward, GateUp, LayerWeights, Up, Weights};
use crate::gpu::{Buffer, Gpu, GpuError};
use crate::kernels::{KvType, Sequence};

/// Keys and values of one layer, `[kv head][slot][head_dim]` each.
pub(super) struct LayerCache {
    /// Positions that it holds: all, or the last so many in a layer with a window.
    pub(super) capacity: u32,
    pub(super) k: Buffer,
    pub(super) v: Buffer,
}

/// What flows between the kernels of a step. Rows are token rows; every buffer of rows has room for [`CHUNK`] of them. Those that are never
/// needed together are one buffer (`arena.rs`, which says what each holds and when).
pub(super) struct Activations {
    /// The residual stream, (rows, embedding).
    pub(super) residual: Buffer,
    /// One row of the residual stream times the next norm's weight, and behind it the sums of its squares.
    pub(super) weighted: Buffer,
    pub(super) normed: Buffer,
    pub(super) qkv: Option<Buffer>,
    pub(super) q: Buffer,
    pub(super) partials: Buffer,
    pub(super) attended: Buffer,
    pub(super) attention_output: Option<Buffer>,
    pub(super) gate_up: Option<Buffer>,
    pub(super) hidden: Buffer,
    pub(super) feed_output: Option<Buffer>,
    /// In a mixture of experts.
    pub(super) routing: Option<Routing>,
}

/// What a mixture of experts needs.
pub(super) struct Routing {
    pub(super) logits: Buffer,
    pub(super) choices: Buffer,
    pub(super) shared_weights: Buffer,
    pub(super) lists: Buffer,
    pub(super) shared_hidden: Buffer,
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
    pub(super) logits: Buffer,
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
        let squares = weights.layers.iter().flat_map(|layer| {
            let down = feed_forward_partials(&layer.feed_forward, config.embedding);
            [residual_partials(&layer.attn_output.matrix), down]
        });
        let squares = squares.max().unwrap_or(1);
        let shape = shape(weights, context, kv_type, head_partials);
        let arena = Arena::new(gpu, ArenaPlan::of(config, &shape))?;
        let activations = Activations {
            residual: gpu.buffer("residual", ArenaPlan::residual_bytes(config))?,
            weighted: gpu.buffer("weighted", 4 * u64::from(config.embedding) + 16 * u64::from(squares))?,
            normed: arena.buffer(Activation::Normed),
            qkv: shape.between.then(|| arena.buffer(Activation::Qkv)),
            q: arena.buffer(Activation::Queries),
            partials: arena.buffer(Activation::Partials),
            attended: arena.buffer(Activation::Attended),
            attention_output: shape.attention_norm.then(|| arena.buffer(Activation::AttentionOutput)),
            gate_up: shape.apart.then(|| arena.buffer(Activation::GateUp)),
            hidden: arena.buffer(Activation::Hidden),
            feed_output: shape.feed_norm.then(|| arena.buffer(Activation::FeedOutput)),
            routing: config.experts.map(|_| Routing::new(&arena)),
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
            logits: arena.buffer(Activation::Logits),
            head_partials: arena.buffer(Activation::HeadPartials),
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

/// What the activations depend on.
fn shape(weights: &Weights, context: u32, kv_type: KvType, head_partials: u32) -> Shape {
    let apart = |layer: &LayerWeights| match &layer.feed_forward {
        FeedForward::Dense(Dense { up, .. }) => matches!(up, Up::Gated(GateUp::Apart(..))),
        FeedForward::Experts(_) => false,
    };
    let any = |has: &dyn Fn(&LayerWeights) -> bool| weights.layers.iter().any(has);
    Shape {
        between: any(&|layer| layer.qkv.between),
        apart: any(&apart),
        attention_norm: any(&|layer| layer.post_attention_norm.is_some()),
        feed_norm: any(&|layer| layer.post_ffw_norm.is_some()),
        head_partials,
        context,
        kv_type,
    }
}

impl Routing {
    fn new(arena: &Arena) -> Self {
        Self {
            logits: arena.buffer(Activation::RouterLogits),
            choices: arena.buffer(Activation::Choices),
            shared_weights: arena.buffer(Activation::SharedWeights),
            lists: arena.buffer(Activation::Lists),
            shared_hidden: arena.buffer(Activation::SharedHidden),
            outputs: arena.buffer(Activation::ExpertOutputs),
        }
    }
}
