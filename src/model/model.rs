//! A model on the GPU: what the generate loop drives.

use super::config::ModelConfig;
use super::plan::{CHUNK, Planner, Width, Workspace};
use super::weights::Weights;
use crate::gpu::{Binding, Buffer, Gpu, GpuError, Pending, Plan, ReadbackRing, Span};
use crate::kernels::{History, KvType, Penalty, SamplePick, SampleScan, SamplingGpu, Step};
use crate::sampling::SamplingParams;

/// Steps that are sent ahead of the last result read back.
const TOKENS_IN_FLIGHT: usize = 3;

/// Rows whose logits are made at once when all positions' logits are wanted.
const SCORED_ROWS: u32 = 32;

/// A model: weights, KV cache, and the plans of its steps.
pub struct Model {
    gpu: Gpu,
    config: ModelConfig,
    weights: Weights,
    space: Workspace,
    /// Embedding and all blocks for a chunk of the prompt.
    prefill: Plan,
    /// Embedding and all blocks for one token.
    decode: Plan,
    /// Final norm and LM head of the last row.
    head: Plan,
    /// Repetition penalty, in answers that have one.
    penalize: Plan,
    /// Drawing a token, which also moves the step on.
    draw: Plan,
    /// Final norm and LM head of all rows, and the logits; made when first wanted.
    score: Option<(Plan, Buffer)>,
    sampling: Buffer,
    history: Buffer,
    ring: ReadbackRing,
    penalized: bool,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Model {
    /// Makes the KV cache for `context` positions, the activations and all plans.
    ///
    /// # Errors
    /// [`GpuError`] if the device has no room.
    pub fn new(gpu: &Gpu, config: ModelConfig, weights: Weights, context: u32, kv_type: KvType) -> Result<Self, GpuError> {
        let space = Workspace::new(gpu, &config, &weights, context, kv_type)?;
        let planner = Planner { gpu, config: &config, weights: &weights, space: &space };
        let prefill = planner.blocks(Width::Many, config.layers as usize);
        let decode = planner.blocks(Width::One, config.layers as usize);
        let vocab = config.vocab;
        let logits = gpu.buffer("logits", 4 * u64::from(vocab.next_multiple_of(4)))?;
        let head = planner.head(&logits);
        let sampling = gpu.buffer("sampling", size_of::<SamplingGpu>() as u64)?;
        let history = gpu.buffer("history", size_of::<History>() as u64)?;
        let partials = gpu.buffer("sampling partials", SampleScan::PARTIALS_BYTES)?;
        let mut penalize = Plan::default();
        penalize.push(gpu, &Penalty { vocab }.dispatch(), &[&logits, &sampling, &history].map(Binding::from));
        let mut draw = Plan::default();
        draw.push(gpu, &SampleScan { vocab }.dispatch(), &[&logits, &sampling, &partials].map(Binding::from));
        let bindings = [&logits, &partials, &sampling, &space.step, &space.ids, &history].map(Binding::from);
        draw.push(gpu, &SamplePick { vocab }.dispatch(), &bindings);
        let ring = ReadbackRing::new(gpu, TOKENS_IN_FLIGHT)?;
        gpu.check()?;
        Ok(Self {
            gpu: gpu.clone(),
            config,
            weights,
            space,
            prefill,
            decode,
            head,
            penalize,
            draw,
            score: None,
            sampling,
            history,
            ring,
            penalized: false,
        })
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Positions that the KV cache holds.
    pub fn context(&self) -> u32 {
        self.space.context
    }

    /// Element type of the KV cache.
    pub fn kv_type(&self) -> KvType {
        self.space.kv_type
    }

    /// Bytes of the KV cache.
    pub fn kv_bytes(&self) -> u64 {
        self.space.kv_bytes()
    }

    /// Bytes of all weights on the GPU.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// Most tokens of one prefill.
    pub fn chunk(&self) -> usize {
        CHUNK as usize
    }

    /// Steps that may be pending at once.
    pub fn tokens_in_flight(&self) -> usize {
        self.ring.depth()
    }

    /// Dispatches of a decode step without penalty.
    pub fn dispatches_per_token(&self) -> usize {
        self.decode.len() + self.head.len() + self.draw.len()
    }

    /// Bytes that a greedy decode step at `position` reads, as its kernels declare them.
    pub fn bytes_read_per_token(&self, position: u32) -> u64 {
        let span = Span { position, rows: 1 };
        [&self.decode, &self.head, &self.draw].iter().map(|plan| plan.bytes_read(span)).sum()
    }

    /// Begins an answer: how its tokens are drawn, and which came before.
    pub fn begin(&mut self, sampling: &SamplingParams, prompt: &[u32]) {
        self.gpu.write(&self.sampling, 0, bytemuck::bytes_of(&sampling.gpu()));
        self.gpu.write(&self.history, 0, bytemuck::bytes_of(&History::new(prompt)));
        self.penalized = sampling.has_penalty();
    }

    /// Runs a chunk of the prompt, at most [`Model::chunk`] tokens, the first of them at `position`.
    pub fn prefill(&self, ids: &[u32], position: u32) {
        let span = self.begin_span(ids, position);
        self.gpu.run(&self.prefill, span);
    }

    /// Runs the prompt's last chunk and draws the answer's first token.
    pub fn prefill_and_draw(&mut self, ids: &[u32], position: u32) -> Pending {
        let span = self.begin_span(ids, position);
        // One token alone is quicker as a decode step.
        let blocks = if ids.len() == 1 { &self.decode } else { &self.prefill };
        Self::draw_after(
            &mut self.ring,
            &self.gpu,
            &self.space.step,
            &[blocks, &self.head, &self.penalize, &self.draw],
            self.penalized,
            span,
        )
    }

    /// Runs the token drawn last, at `position`, and draws the next. Nothing of it passes through the CPU.
    pub fn decode(&mut self, position: u32) -> Pending {
        let span = Span { position, rows: 1 };
        let plans = [&self.decode, &self.head, &self.penalize, &self.draw];
        Self::draw_after(&mut self.ring, &self.gpu, &self.space.step, &plans, self.penalized, span)
    }

    fn draw_after(ring: &mut ReadbackRing, gpu: &Gpu, step: &Buffer, plans: &[&Plan; 4], penalized: bool, span: Span) -> Pending {
        let [blocks, head, penalize, draw] = *plans;
        if penalized {
            ring.run(gpu, &[blocks, head, penalize, draw], span, step, Step::TOKEN_OFFSET)
        } else {
            ring.run(gpu, &[blocks, head, draw], span, step, Step::TOKEN_OFFSET)
        }
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
    pub async fn hidden(&self, ids: &[u32], position: u32, layers: usize) -> Result<Vec<f32>, GpuError> {
        let width = if ids.len() == 1 { Width::One } else { Width::Many };
        let planner = Planner { gpu: &self.gpu, config: &self.config, weights: &self.weights, space: &self.space };
        let span = self.begin_span(ids, position);
        self.gpu.run(&planner.blocks(width, layers), span);
        let bytes = 4 * ids.len() as u64 * u64::from(self.config.embedding);
        self.gpu.download(&self.space.activations.x, 0..bytes).await
    }

    /// Most rows of one [`Model::score`].
    pub fn scored_rows(&self) -> usize {
        SCORED_ROWS as usize
    }

    /// Runs a chunk of at most [`Model::scored_rows`] tokens and returns their logits, (rows, vocab).
    ///
    /// # Errors
    /// The failure that the device reported.
    pub async fn score(&mut self, ids: &[u32], position: u32) -> Result<Vec<f32>, GpuError> {
        let vocab = self.config.vocab as usize;
        let stride = vocab.next_multiple_of(4);
        if self.score.is_none() {
            let logits = self.gpu.buffer("logits of all rows", 4 * u64::from(SCORED_ROWS) * stride as u64)?;
            let planner = Planner { gpu: &self.gpu, config: &self.config, weights: &self.weights, space: &self.space };
            self.score = Some((planner.head_of_all(&logits), logits));
        }
        let span = self.begin_span(ids, position);
        self.gpu.run(&self.prefill, span);
        let Some((head, logits)) = &self.score else { return Ok(Vec::new()) };
        self.gpu.run(head, span);
        let mut rows: Vec<f32> = self.gpu.download(logits, 0..4 * (ids.len() * stride) as u64).await?;
        if stride != vocab {
            rows = rows.chunks_exact(stride).flat_map(|row| &row[..vocab]).copied().collect();
        }
        Ok(rows)
    }

    /// Tells the GPU which tokens the next run is about.
    fn begin_span(&self, ids: &[u32], position: u32) -> Span {
        let rows = ids.len() as u32;
        debug_assert!(rows <= CHUNK && position + rows <= self.context());
        self.gpu.write(&self.space.ids, 0, bytemuck::cast_slice(ids));
        let step = Step { position, rows, drawn: 0, token: 0 };
        self.gpu.write(&self.space.step, 0, bytemuck::bytes_of(&step));
        Span { position, rows }
    }
}
