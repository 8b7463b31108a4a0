//! A model on the GPU: what the generate loop drives.

use super::config::ModelConfig;
use super::plan::{CHUNK, Planner, Width, Workspace};
use super::weights::Weights;
use crate::gpu::{Buffer, Gpu, GpuError, Plan, Span};
use crate::kernels::{KvType, Step};

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
    /// Final norm and LM head of all rows, and the logits; made when first wanted.
    score: Option<(Plan, Buffer)>,
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
        gpu.check()?;
        Ok(Self { gpu: gpu.clone(), config, weights, space, prefill, score: None })
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Positions that the KV cache holds.
    pub fn context(&self) -> u32 {
        self.space.context
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
