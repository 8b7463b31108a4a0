//! A model on the GPU: what the generate loop drives.

use super::arena::CHUNK;
use super::config::ModelConfig;
use super::passes::{Passes, SegmentPasses};
use super::plan::{FEW_ROWS, Planner, Width, head_partials};
use super::tuning::{TunedBy, Tuning};
use super::weights::Weights;
use super::workspace::Workspace;
use crate::gpu::{Buffer, Gpu, GpuError, Pending, Plan, ReadbackRing, Span};
use crate::kernels::{Attention, AttentionVariant, KvType, Sequence, Step};
use crate::sampling::SamplingParams;

/// Steps that are sent ahead of the last result read back: at first, and at most where results come back slowly.
const TOKENS_IN_FLIGHT: std::ops::RangeInclusive<usize> = 3..=4;

/// A model: weights, KV cache, and the plans of its steps.
pub struct Model {
    gpu: Gpu,
    config: ModelConfig,
    weights: Weights,
    space: Workspace,
    /// All blocks.
    passes: Passes,
    /// Embedding of one id on its way to the blocks.
    enter: Plan,
    /// LM head, and drawing a token, which also moves the step on.
    head: Plan,
    /// What draws a token does not embed it.
    draws_ids: bool,
    /// What gives all rows' logits, made when first wanted.
    score: Option<Score>,
    tuning: Tuning,
    tuned_by: TunedBy,
    ring: ReadbackRing,
    in_flight: usize,
    /// End of the positions that were written since one began at 0.
    written: usize,
    /// The device had no room for more of the KV cache.
    refused: bool,
}

/// A chunk of few rows with the final norm and the LM head of each.
struct Score {
    plan: Plan,
    /// The segment of the KV cache that it writes.
    segment: usize,
    logits: Buffer,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Model {
    /// Makes the first segment of the KV cache for `context` positions, the activations and all plans, with the products tuned as [`super::tune`] found.
    ///
    /// # Errors
    /// [`GpuError`] if the device has no room.
    pub fn new(
        gpu: &Gpu,
        config: ModelConfig,
        mut weights: Weights,
        context: u32,
        kv_type: KvType,
        (tuning, tuned_by): (Tuning, TunedBy),
    ) -> Result<Self, GpuError> {
        tuning.apply(&mut weights);
        let space = Workspace::new(gpu, &config, &weights, context, kv_type, head_partials(&weights))?;
        let planner = Planner { gpu, config: &config, weights: &weights, space: &space, tuning: &tuning, segment: 0 };
        let passes = Passes::new(&planner);
        let enter = planner.enter();
        let head = planner.head();
        let draws_ids = planner.draws_ids();
        let ring = ReadbackRing::new(gpu, *TOKENS_IN_FLIGHT.end())?;
        gpu.check()?;
        Ok(Self {
            gpu: gpu.clone(),
            config,
            weights,
            space,
            passes,
            enter,
            head,
            draws_ids,
            score: None,
            tuning,
            tuned_by,
            ring,
            in_flight: *TOKENS_IN_FLIGHT.start(),
            written: 0,
            refused: false,
        })
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Which variants its products and its attention run as.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// Where these come from.
    pub fn tuned_by(&self) -> TunedBy {
        self.tuned_by
    }

    /// Which variant its attention runs as.
    pub fn attention(&self) -> AttentionVariant {
        self.tuning.attention_of(&self.config, self.kv_type())
    }

    /// Positions that a sequence can have.
    pub fn context(&self) -> u32 {
        self.space.cache.context
    }

    /// Positions that the KV cache has room for so far: [`Model::reserve`] makes more, up to the context.
    pub fn reserved(&self) -> u32 {
        self.space.cache.end()
    }

    /// Positions to reckon with: the context, or what is reserved, if the device refused more when it was last asked.
    pub fn room(&self) -> u32 {
        if self.refused { self.reserved() } else { self.context() }
    }

    /// Element type of the KV cache.
    pub fn kv_type(&self) -> KvType {
        self.space.cache.kv_type
    }

    /// Bytes of the KV cache as far as it is reserved.
    pub fn kv_bytes(&self) -> u64 {
        self.space.cache.bytes()
    }

    /// Bytes of all weights on the GPU.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// Most tokens of one prefill anywhere.
    pub fn chunk(&self) -> usize {
        CHUNK as usize
    }

    /// Most tokens of one prefill whose first token is at `position`: it ends with the segment of the KV cache.
    pub fn chunk_at(&self, position: u32) -> usize {
        CHUNK.min(self.space.cache.end_of_segment(position).saturating_sub(position)) as usize
    }

    /// Makes room in the KV cache for the positions below `end`. What is there stays where it is; where there is no room, the model is as it was.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`] if the device has no room; another failure that it reported.
    pub async fn reserve(&mut self, end: u32) -> Result<(), GpuError> {
        let before = self.space.cache.last();
        while self.reserved() < end.min(self.context()) {
            let Self { gpu, config, weights, space, tuning, .. } = self;
            let made = space.cache.last();
            let passes = gpu
                .attempt(async || {
                    space.cache.grow(gpu, config)?;
                    let planner = Planner { gpu, config, weights, space, tuning, segment: made + 1 };
                    Ok(SegmentPasses::new(&planner))
                })
                .await;
            match passes {
                Ok(passes) => self.passes.push(passes),
                Err(error) => {
                    self.passes.truncate(before + 1);
                    space.cache.shrink(before);
                    self.refused = matches!(error, GpuError::OutOfMemory { .. });
                    let in_use = gpu.memory().current;
                    return Err(if self.refused { GpuError::OutOfMemory { in_use } } else { error });
                }
            }
        }
        self.refused &= self.space.cache.last() == before;
        Ok(())
    }

    fn planner(&self, position: u32) -> Planner<'_> {
        let Self { gpu, config, weights, space, tuning, .. } = self;
        Planner { gpu, config, weights, space, tuning, segment: space.cache.segment_of(position) }
    }

    /// Of the first `prefix` tokens of the sequence in the KV cache, with which another begins: how many can be kept.
    /// Layers with a window hold the last positions only, so that going back far is beginning again.
    pub fn kept(&self, prefix: usize) -> usize {
        if self.space.cache.forgets && self.written > prefix + CHUNK as usize { 0 } else { prefix }
    }

    /// Most steps that are ever sent ahead.
    pub fn most_in_flight(&self) -> usize {
        self.ring.depth()
    }

    /// Steps that may be pending at once: more and more where results come back late.
    pub fn tokens_in_flight(&self) -> usize {
        self.in_flight
    }

    /// Sends one step more ahead from now on, up to a limit: results came back so late that the device had nothing to do.
    pub fn deepen(&mut self) {
        self.in_flight = (self.in_flight + 1).min(self.ring.depth());
    }

    /// Dispatches of a decode step at `position`.
    pub fn dispatches_per_token(&self, position: u32) -> usize {
        self.step(position).iter().map(|plan| plan.len()).sum()
    }

    /// Dispatches of all blocks of a decode step at `position`, without what comes before the first and behind the last.
    pub fn dispatches_of_blocks(&self, position: u32) -> usize {
        self.passes.decode(&self.space.cache, position).len()
    }

    /// Bytes that a greedy decode step at `position` reads, as its kernels declare them.
    pub fn bytes_read_per_token(&self, position: u32) -> u64 {
        let span = Span { position, rows: 1 };
        self.step(position).iter().map(|plan| plan.bytes_read(span)).sum()
    }

    /// Begins an answer: how its tokens are drawn, and which came before.
    pub fn begin(&mut self, sampling: &SamplingParams, prompt: &[u32]) {
        let answer = Sequence::answer(&sampling.gpu(), prompt, self.config.vocab);
        self.gpu.write(&self.space.sequence, Sequence::ANSWER_OFFSET, bytemuck::cast_slice(&answer));
    }

    /// Runs a chunk of the prompt, at most [`Model::chunk_at`] tokens, the first of them at `position`; room is reserved.
    pub fn prefill(&mut self, ids: &[u32], position: u32) {
        let span = self.begin_span(ids, position);
        self.gpu.run(self.passes.prompt(&self.space.cache, span), span);
    }

    /// Runs the prompt's last chunk and draws the answer's first token.
    pub fn prefill_and_draw(&mut self, ids: &[u32], position: u32) -> Pending {
        let span = self.begin_span(ids, position);
        let cache = &self.space.cache;
        let last = Span { position: position + span.rows - 1, rows: 1 };
        // One token alone is quicker as a decode step.
        let plans = match ids.len() {
            1 => [(&self.enter, span), (self.passes.decode(cache, position), span), (&self.head, span)],
            _ => [(self.passes.prompt(cache, span), span), (self.passes.last_row(cache, last.position), last), (&self.head, last)],
        };
        self.ring.run(&self.gpu, &plans, &self.space.sequence, Step::TOKEN_OFFSET)
    }

    /// Runs the token drawn last, at `position`, and draws the next. Nothing of it passes through the CPU.
    pub fn decode(&mut self, position: u32) -> Pending {
        let span = Span { position, rows: 1 };
        self.writes(span);
        let all = [&self.enter, self.passes.decode(&self.space.cache, position), &self.head].map(|plan| (plan, span));
        let plans = if self.draws_ids { &all[..] } else { &all[1..] };
        self.ring.run(&self.gpu, plans, &self.space.sequence, Step::TOKEN_OFFSET)
    }

    /// The plans of a decode step at `position`.
    fn step(&self, position: u32) -> Vec<&Plan> {
        let enter = self.draws_ids.then_some(&self.enter);
        enter.into_iter().chain([self.passes.decode(&self.space.cache, position), &self.head]).collect()
    }

    /// The token that a pending step drew.
    ///
    /// # Errors
    /// The failure that the device reported.
    pub async fn token(&self, pending: Pending) -> Result<u32, GpuError> {
        self.ring.value(&self.gpu, pending).await
    }

    /// The residual stream, (rows, embedding), after the first `layers` blocks: for tests and diagnosis.
    ///
    /// # Errors
    /// The failure that the device reported.
    pub async fn hidden(&mut self, ids: &[u32], position: u32, layers: usize) -> Result<Vec<f32>, GpuError> {
        let span = self.begin_span(ids, position);
        let planner = self.planner(position);
        if ids.len() == 1 {
            let width = if position < Attention::SHORT_CONTEXT { Width::Short } else { Width::One };
            self.gpu.run(&self.enter, span);
            self.gpu.run(&planner.decode(width, layers), span);
        } else {
            self.gpu.run(&planner.prefill(Width::of_prefill(ids.len()), layers), span);
        }
        let bytes = 4 * ids.len() as u64 * u64::from(self.config.embedding);
        self.gpu.download(&self.space.activations.residual, 0..bytes).await
    }

    /// Most rows of one [`Model::score`].
    pub fn scored_rows(&self) -> usize {
        FEW_ROWS
    }

    /// Runs a chunk of at most [`Model::scored_rows`] tokens and returns their logits, (rows, vocab).
    ///
    /// # Errors
    /// The failure that the device reported.
    pub async fn score(&mut self, ids: &[u32], position: u32) -> Result<Vec<f32>, GpuError> {
        let vocab = self.config.vocab as usize;
        let stride = vocab.next_multiple_of(4);
        let segment = self.space.cache.segment_of(position);
        let score = match self.score.take() {
            Some(score) if score.segment == segment => score,
            other => {
                let logits = match other {
                    Some(Score { logits, .. }) => logits,
                    None => self.gpu.buffer("logits of all rows", 4 * (FEW_ROWS * stride) as u64)?,
                };
                Score { plan: self.planner(position).score(&logits), segment, logits }
            }
        };
        let span = self.begin_span(ids, position);
        self.gpu.run(&score.plan, span);
        let rows = self.gpu.download(&score.logits, 0..4 * (ids.len() * stride) as u64).await;
        self.score = Some(score);
        let mut rows: Vec<f32> = rows?;
        if stride != vocab {
            rows = rows.chunks_exact(stride).flat_map(|row| &row[..vocab]).copied().collect();
        }
        Ok(rows)
    }

    /// Tells the GPU which tokens the next run is about.
    fn begin_span(&mut self, ids: &[u32], position: u32) -> Span {
        let rows = ids.len() as u32;
        debug_assert!(rows as usize <= self.chunk_at(position) && position + rows <= self.reserved());
        self.gpu.write(&self.space.ids, 0, bytemuck::cast_slice(ids));
        let step = Step { position, rows, drawn: 0, token: 0 };
        self.gpu.write(&self.space.sequence, 0, bytemuck::bytes_of(&step));
        let span = Span { position, rows };
        self.writes(span);
        span
    }

    fn writes(&mut self, span: Span) {
        let before = if span.position == 0 { 0 } else { self.written };
        self.written = before.max((span.position + span.rows) as usize);
    }
}
