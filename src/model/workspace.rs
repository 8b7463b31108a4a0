//! Every buffer of a model that is not a weight: the KV cache, the activations, and what says which step it is.

use super::arena::{Activation, Arena, ArenaPlan, CHUNK, Shape};
use super::cache::Cache;
use super::config::ModelConfig;
use super::experts::feed_forward_partials;
use super::plan::residual_partials;
use super::weights::{Dense, FeedForward, GateUp, LayerWeights, Up, Weights};
use crate::gpu::{Buffer, Gpu, GpuError};
use crate::kernels::{KvType, Sequence};

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
    pub(super) carried: Option<Buffer>,
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
    pub(super) cache: Cache,
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
        let cache = Cache::new(gpu, config, context, kv_type)?;
        let shape = shape(weights, &cache, head_partials);
        let arena = Arena::new(gpu, ArenaPlan::of(config, &shape))?;
        let activations = Activations {
            residual: gpu.buffer("residual", ArenaPlan::residual_bytes(config))?,
            weighted: gpu.buffer("weighted", 4 * u64::from(config.embedding) + 16 * u64::from(squares))?,
            normed: arena.buffer(Activation::Normed),
            qkv: shape.between.then(|| arena.buffer(Activation::Qkv)),
            q: arena.buffer(Activation::Queries),
            partials: arena.buffer(Activation::Partials),
            carried: shape.segmented.then(|| arena.buffer(Activation::Carried)),
            attended: arena.buffer(Activation::Attended),
            attention_output: shape.attention_norm.then(|| arena.buffer(Activation::AttentionOutput)),
            gate_up: shape.apart.then(|| arena.buffer(Activation::GateUp)),
            hidden: arena.buffer(Activation::Hidden),
            feed_output: shape.feed_norm.then(|| arena.buffer(Activation::FeedOutput)),
            routing: config.experts.map(|_| Routing::new(&arena)),
        };
        Ok(Self {
            cache,
            sequence: gpu.buffer("sequence", Sequence::bytes(config.vocab))?,
            ids: gpu.buffer("ids", 4 * u64::from(CHUNK))?,
            activations,
            logits: arena.buffer(Activation::Logits),
            head_partials: arena.buffer(Activation::HeadPartials),
        })
    }
}

/// What the activations depend on.
fn shape(weights: &Weights, cache: &Cache, head_partials: u32) -> Shape {
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
        context: cache.context,
        segmented: cache.is_segmented(),
        kv_type: cache.kv_type,
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
