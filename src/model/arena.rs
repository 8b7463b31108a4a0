//! The arena of a step: which activations there are, when each is needed, and which of them share a buffer.
//!
//! A step is a row of phases. An activation is alive from the phase that first writes it to the last that reads it, and activations that are
//! never alive together may be one buffer. They share whole buffers and not ranges of one, for WebGPU forbids a dispatch to bind a buffer
//! read-only and for writing at once, wherever the ranges are. What one dispatch binds is alive in its phase, so that it never is one buffer.

use super::block::attention;
use super::cache::Segment;
use super::config::{Experts, ModelConfig};
use crate::gpu::{Buffer, Gpu, GpuError};
use crate::kernels::{CHOICE_BYTES, GroupChoices, KvType, SamplePick};

/// Token rows of the largest prefill chunk: every activation of rows has room for so many.
pub(super) const CHUNK: u32 = 256;

/// What a step does, dispatch by dispatch. All blocks go through the same phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Embed,
    EmbedNorm,
    /// The norm of attention's input.
    Norm,
    Qkv,
    Heads,
    Attend,
    Merge,
    Output,
    OutputNorm,
    FeedNorm,
    Router,
    Route,
    Group,
    Up,
    Gate,
    Down,
    Sum,
    DownNorm,
    HeadNorm,
    Head,
    Draw,
}

use Phase::*;

/// The phases in order.
const SERIAL: [Phase; 21] = [
    Embed, EmbedNorm, Norm, Qkv, Heads, Attend, Merge, Output, OutputNorm, FeedNorm, Router, Route, Group, Up, Gate, Down, Sum,
    DownNorm, HeadNorm, Head, Draw,
];

/// The same where both halves read the residual stream before either writes it.
const PARALLEL: [Phase; 21] = [
    Embed, EmbedNorm, Norm, Qkv, Heads, Attend, Merge, FeedNorm, Router, Route, Group, Up, Gate, Output, OutputNorm, Down, Sum,
    DownNorm, HeadNorm, Head, Draw,
];

/// What flows between the kernels of a step, but for the residual stream and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// Normed input of a block's half or of the head, (rows, embedding).
    Normed,
    /// Queries, keys and values on the way to their places, (rows, all heads · head_dim), where something comes between.
    Qkv,
    /// Turned queries, (rows, heads · head_dim).
    Queries,
    /// Split attention's partial results.
    Partials,
    /// What rows have of the cache's segments before, (rows, heads), where there are several.
    Carried,
    /// Attention's output, (rows, heads · head_dim).
    Attended,
    /// Of the output projection, on the way to a norm, (rows, embedding).
    AttentionOutput,
    /// Of the router, (rows, experts and the shared expert's gate).
    RouterLogits,
    /// The chosen experts and their weights, (rows, experts of a token).
    Choices,
    /// Weights of the shared expert, in the form of choices, (rows).
    SharedWeights,
    /// For each expert how many choices it is, and which.
    Lists,
    /// (rows, gate | up), in models where these are apart.
    GateUp,
    /// (rows, feed_forward), or (rows · experts of a token, feed_forward of an expert)
    Hidden,
    /// (rows, feed_forward of the shared expert)
    SharedHidden,
    /// (rows · experts of a token, embedding)
    ExpertOutputs,
    /// Of the down projection, on the way to a norm, (rows, embedding).
    FeedOutput,
    /// Of one row.
    Logits,
    /// What the LM head's workgroups leave for sampling.
    HeadPartials,
}

/// What a model's activations depend on, besides its configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    /// Something comes between the product and the places of q, k and v.
    pub between: bool,
    /// Gate and up are apart.
    pub apart: bool,
    /// A norm comes behind attention.
    pub attention_norm: bool,
    /// A norm comes behind the feed-forward network.
    pub feed_norm: bool,
    /// What the LM head leaves for sampling.
    pub head_partials: u32,
    /// Positions of a sequence.
    pub context: u32,
    /// These are in several segments of the cache.
    pub segmented: bool,
    /// Of the cache.
    pub kv_type: KvType,
}

/// One of them: its size, and the phases that it is alive in, a bit each.
#[derive(Debug, Clone, Copy)]
struct Life {
    activation: Activation,
    bytes: u64,
    phases: u32,
}

/// Which activations share a buffer.
#[derive(Debug, Clone)]
pub struct ArenaPlan {
    /// The activations,
    lives: Vec<Life>,
    /// for each the buffer that it is in,
    places: Vec<usize>,
    /// and the buffers' bytes.
    buffers: Vec<u64>,
}

impl ArenaPlan {
    /// The plan for a model.
    pub fn of(config: &ModelConfig, shape: &Shape) -> Self {
        Self::assign(lives(config, shape))
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> u64 {
        self.buffers.iter().sum()
    }

    /// Bytes that a buffer for each activation would take.
    pub fn unshared_bytes(&self) -> u64 {
        self.lives.iter().map(|life| life.bytes).sum()
    }

    /// Bytes of the residual stream, which is alive all the time and so not among them.
    pub fn residual_bytes(config: &ModelConfig) -> u64 {
        4 * u64::from(CHUNK) * u64::from(config.embedding)
    }

    fn place(&self, activation: Activation) -> Option<usize> {
        let index = self.lives.iter().position(|life| life.activation == activation)?;
        self.places.get(index).copied()
    }

    /// The largest first, each into the first buffer that nothing of its time is in; so no buffer grows, and what there is to choose is when a
    /// new one is made. Of so many choices those are taken that need fewest bytes.
    fn assign(mut lives: Vec<Life>) -> Self {
        lives.sort_by_key(|life| std::cmp::Reverse(life.bytes));
        let most_alive = (0..u32::BITS)
            .map(|phase| lives.iter().filter(|life| life.phases >> phase & 1 == 1).map(|life| life.bytes).sum::<u64>())
            .max();
        let mut search = Search { lives: &lives, enough: most_alive.unwrap_or(0), best: None, tries: MOST_TRIES };
        search.go(&mut Vec::new(), &mut Vec::new(), 0);
        let (_, places, buffers) = search.best.unwrap_or_default();
        Self { lives, places, buffers }
    }
}

/// Choices that are looked at before the best one so far is taken.
const MOST_TRIES: u32 = 20_000;

struct Search<'a> {
    lives: &'a [Life],
    /// No plan needs less.
    enough: u64,
    /// Its bytes, the places of the activations, and the buffers.
    best: Option<(u64, Vec<usize>, Vec<u64>)>,
    tries: u32,
}

impl Search<'_> {
    /// Places what is left, when `buffers` are occupied in some phases each.
    fn go(&mut self, places: &mut Vec<usize>, buffers: &mut Vec<(u64, u32)>, bytes: u64) {
        let done = |best: &(u64, _, _)| best.0 <= bytes || best.0 == self.enough;
        if self.best.as_ref().is_some_and(|best| done(best) || self.tries == 0) {
            return;
        }
        self.tries = self.tries.saturating_sub(1);
        let Some(life) = self.lives.get(places.len()).copied() else {
            self.best = Some((bytes, places.clone(), buffers.iter().map(|buffer| buffer.0).collect()));
            return;
        };
        for place in 0..buffers.len() {
            let occupied = buffers[place].1;
            if occupied & life.phases == 0 {
                buffers[place].1 |= life.phases;
                places.push(place);
                self.go(places, buffers, bytes);
                places.pop();
                buffers[place].1 = occupied;
            }
        }
        places.push(buffers.len());
        buffers.push((life.bytes, life.phases));
        self.go(places, buffers, bytes + life.bytes);
        buffers.pop();
        places.pop();
    }
}

/// What a model needs, and when.
fn lives(config: &ModelConfig, shape: &Shape) -> Vec<Life> {
    let order = if config.parallel { PARALLEL } else { SERIAL };
    let at = |phase| order.iter().position(|other| *other == phase).unwrap_or(0) as u32;
    let during = |first, last| (u32::MAX >> (31 - at(last))) & (u32::MAX << at(first));
    let rows = u64::from(CHUNK);
    let row = |width: u32| 4 * rows * u64::from(width);
    let ModelConfig { heads, kv_heads, head_dim, embedding, feed_forward, .. } = *config;
    let query = heads * head_dim;
    let mut lives = Vec::new();
    let mut add = |activation, bytes, phases| lives.push(Life { activation, bytes, phases });
    let inputs = [(EmbedNorm, EmbedNorm), (Embed, Embed), (Norm, Qkv), (FeedNorm, Up), (HeadNorm, Head)];
    // In a parallel block without a second norm both halves read attention's.
    let both = if config.parallel { during(Norm, Up) } else { 0 };
    add(Activation::Normed, row(embedding), inputs.iter().fold(both, |phases, (first, last)| phases | during(*first, *last)));
    if shape.between {
        add(Activation::Qkv, row(query + 2 * kv_heads * head_dim), during(Qkv, Heads));
    }
    add(Activation::Queries, row(query), during(Qkv, Attend));
    let whole = Segment { first: 0, positions: shape.context };
    let attention = attention(config, 0, shape.context, whole, shape.kv_type);
    add(Activation::Partials, attention.partials_bytes(), during(Attend, Merge));
    if shape.segmented {
        add(Activation::Carried, attention.carried_bytes(CHUNK), during(Attend, Attend));
    }
    add(Activation::Attended, row(query), during(Attend, Output));
    if shape.attention_norm {
        add(Activation::AttentionOutput, row(embedding), during(Output, OutputNorm));
    }
    if let Some(Experts { count, used, feed_forward, shared, .. }) = config.experts {
        let stride = config.experts.map_or(0, |experts| experts.logits_stride());
        add(Activation::RouterLogits, row(stride), during(Router, Route));
        add(Activation::Choices, CHOICE_BYTES * rows * u64::from(used), during(Route, Down));
        add(Activation::SharedWeights, CHOICE_BYTES * rows, during(Route, Up));
        add(Activation::Lists, GroupChoices { experts: count, used, rows: CHUNK }.bytes(), during(Group, Down));
        add(Activation::SharedHidden, row(shared.max(4)), during(Up, Down));
        add(Activation::ExpertOutputs, row(used * embedding), during(Down, Sum));
        add(Activation::Hidden, row((used * feed_forward).max(config.feed_forward)), during(Up, Down));
    } else {
        add(Activation::Hidden, row(feed_forward), during(Up, Down));
    }
    if shape.apart {
        add(Activation::GateUp, row(2 * feed_forward), during(Up, Gate));
    }
    if shape.feed_norm {
        add(Activation::FeedOutput, row(embedding), during(Down, DownNorm));
    }
    add(Activation::Logits, 4 * u64::from(config.vocab.next_multiple_of(4)), during(Head, Draw));
    add(Activation::HeadPartials, SamplePick::partials_bytes(shape.head_partials), during(Head, Draw));
    lives
}

/// The buffers of an [`ArenaPlan`].
pub(super) struct Arena {
    plan: ArenaPlan,
    buffers: Vec<Buffer>,
}

impl Arena {
    /// Makes them.
    pub(super) fn new(gpu: &Gpu, plan: ArenaPlan) -> Result<Self, GpuError> {
        let buffers = plan.buffers.iter().map(|bytes| gpu.buffer("activations", *bytes)).collect::<Result<_, _>>()?;
        Ok(Self { plan, buffers })
    }

    /// The buffer that an activation is in; one that the model does not have is nowhere, which is the first.
    pub(super) fn buffer(&self, activation: Activation) -> Buffer {
        self.buffers[self.plan.place(activation).unwrap_or(0)].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::llama;

    const PLAIN: Shape = Shape {
        between: false,
        apart: false,
        attention_norm: false,
        feed_norm: false,
        head_partials: 6144,
        context: 4096,
        segmented: false,
        kv_type: KvType::F16,
    };

    /// Models of every kind.
    fn kinds() -> Vec<(ModelConfig, Shape)> {
        let experts = |shared| Experts { count: 60, used: 4, feed_forward: 1408, normalized: false, scale: 1.0, shared };
        let mut kinds = Vec::new();
        for (embedding, feed_forward, heads, kv_heads) in [(576, 1536, 9, 3), (4096, 11_008, 32, 32), (2048, 512, 64, 1)] {
            for experts in [None, Some(experts(0)), Some(experts(5632))] {
                for bits in 0..64 {
                    let flag = |bit: u32| bits >> bit & 1 == 1;
                    let [between, apart, attention_norm, feed_norm] = [0, 1, 2, 3].map(flag);
                    let config = llama(2, embedding, feed_forward, heads, kv_heads, 49_152);
                    let config = ModelConfig { experts, parallel: flag(4), ..config };
                    kinds.push((config, Shape { between, apart, attention_norm, feed_norm, segmented: flag(5), ..PLAIN }));
                }
            }
        }
        kinds
    }

    #[test]
    fn what_is_alive_together_lies_apart() {
        for (config, shape) in kinds() {
            let plan = ArenaPlan::of(&config, &shape);
            assert_eq!(plan.lives.len(), plan.places.len());
            let mut most = vec![0; plan.buffers.len()];
            for (life, place) in plan.lives.iter().zip(&plan.places) {
                most[*place] = life.bytes.max(most[*place]);
                for (other, other_place) in plan.lives.iter().zip(&plan.places) {
                    let shared = place == other_place && life.activation != other.activation;
                    assert!(!shared || life.phases & other.phases == 0, "{life:?} and {other:?} of {shape:?}");
                }
            }
            assert_eq!(most, plan.buffers);
            assert!(plan.bytes() < plan.unshared_bytes());
        }
    }

    /// What each dispatch of `block.rs`, `experts.rs` and `plan.rs` binds, in one buffer each.
    #[test]
    fn no_dispatch_binds_a_buffer_twice() {
        use Activation::*;
        let dispatches: [&[Activation]; 17] = [
            &[Normed, Queries],
            &[Normed, Qkv],
            &[Qkv, Queries],
            &[Queries, Attended, Carried],
            &[Queries, Partials],
            &[Partials, Attended],
            &[Attended, AttentionOutput],
            &[Normed, RouterLogits],
            &[RouterLogits, Choices, SharedWeights],
            &[Choices, Lists],
            &[Normed, Hidden, Choices, Lists],
            &[Normed, SharedHidden, SharedWeights],
            &[Normed, GateUp],
            &[GateUp, Hidden],
            &[Hidden, Choices, Lists, ExpertOutputs],
            &[Hidden, FeedOutput],
            &[Normed, Logits, HeadPartials],
        ];
        for (config, shape) in kinds() {
            let plan = ArenaPlan::of(&config, &shape);
            for bound in dispatches {
                let mut places: Vec<usize> = bound.iter().filter_map(|activation| plan.place(*activation)).collect();
                let count = places.len();
                places.sort_unstable();
                places.dedup();
                assert_eq!(places.len(), count, "{bound:?} of {shape:?}, {:?}", config.experts);
            }
        }
    }

    /// Of the sizes of SmolLM2 135M, Llama 2 7B, and Gemma 2 2B: in the end there are the residual stream, the hidden rows, what is as wide as the
    /// embedding, and the partial results of split attention. That is about 66, 70 and 58 % of what a buffer for each would take.
    #[test]
    fn what_sharing_saves() {
        let norms = Shape { attention_norm: true, feed_norm: true, ..PLAIN };
        for (config, shape, outputs) in [
            (llama(30, 576, 1536, 9, 3, 49_152), PLAIN, 0),
            (llama(32, 4096, 11_008, 32, 32, 32_000), PLAIN, 0),
            (llama(26, 2048, 8192, 8, 4, 256_000), norms, 2),
        ] {
            let plan = ArenaPlan::of(&config, &shape);
            let row = |width: u32| 1024 * u64::from(width);
            let whole = Segment { first: 0, positions: shape.context };
            let partials = attention(&config, 0, shape.context, whole, shape.kv_type).partials_bytes();
            // The head's partials come when attention's are done with.
            let small = partials.max(SamplePick::partials_bytes(shape.head_partials));
            assert_eq!(plan.bytes(), row(config.feed_forward + config.embedding) + small, "{:?}", plan.buffers);
            let of_head = 4 * u64::from(config.vocab) + SamplePick::partials_bytes(shape.head_partials);
            let rows = row(config.feed_forward + (3 + outputs) * config.embedding);
            assert_eq!(plan.unshared_bytes(), rows + partials + of_head);
        }
    }
}
