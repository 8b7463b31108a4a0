//! A model's weights on the GPU, and how a file's tensors get there.

use super::config::{ConfigError, ModelConfig, RopeLayout};
use crate::gpu::{Buffer, Gpu, GpuError};
use crate::kernels::{Format, Reorder};
use crate::weights::gguf::TensorInfo;
use crate::weights::source::Source;
use crate::weights::{Matrix, Placement, UploadError, Uploader, matrix_format};

/// Rows that the kernels take together.
const PAIR_ROWS: u32 = 8;

/// A matrix and where its rows go in a row of its output.
#[derive(Debug)]
pub struct Projection {
    /// The weights.
    pub matrix: Matrix,
    /// The output element of the matrix's row 0.
    pub first: u32,
}

/// The two matrices of a gated feed-forward network.
#[derive(Debug)]
pub enum GateUp {
    /// One matrix with quads of `ffn_gate` and of `ffn_up` by turns: their types agree.
    Interleaved(Matrix),
    /// `ffn_gate` and `ffn_up`
    Apart([Matrix; 2]),
}

/// One transformer block.
#[derive(Debug)]
pub struct LayerWeights {
    /// `attn_norm.weight`
    pub attn_norm: Buffer,
    /// `attn_q`, `attn_k`, `attn_v`: neighbours whose types agree are one stacked matrix.
    pub qkv: Vec<Projection>,
    /// `attn_output.weight`
    pub attn_output: Matrix,
    /// `ffn_norm.weight`
    pub ffn_norm: Buffer,
    /// `ffn_gate.weight`, `ffn_up.weight`
    pub gate_up: GateUp,
    /// `ffn_down.weight`
    pub ffn_down: Matrix,
}

/// All weights of a model.
#[derive(Debug)]
pub struct Weights {
    /// `token_embd.weight`
    pub token_embd: Matrix,
    /// The blocks in order.
    pub layers: Vec<LayerWeights>,
    /// `output_norm.weight`
    pub output_norm: Buffer,
    /// `output.weight`; where the file has none, the token embedding serves (a tied head).
    pub output: Option<Matrix>,
    /// `rope_freqs.weight` (Llama 3.1)
    pub rope_factors: Option<Vec<f32>>,
}

impl Weights {
    /// The LM head's matrix.
    pub fn head(&self) -> &Matrix {
        self.output.as_ref().unwrap_or(&self.token_embd)
    }

    /// Bytes that one decode step has to read: all blocks and the head, but of the embedding only a row.
    pub fn step_bytes(&self) -> u64 {
        let layer = |layer: &LayerWeights| {
            let gate_up = match &layer.gate_up {
                GateUp::Interleaved(both) => both.bytes(),
                GateUp::Apart(two) => two.iter().map(Matrix::bytes).sum(),
            };
            layer.qkv.iter().map(|projection| projection.matrix.bytes()).sum::<u64>()
                + layer.attn_output.bytes()
                + gate_up
                + layer.ffn_down.bytes()
                + layer.attn_norm.size()
                + layer.ffn_norm.size()
        };
        self.layers.iter().map(layer).sum::<u64>() + self.head().bytes() + self.output_norm.size()
    }

    /// Bytes of all weights on the GPU.
    pub fn bytes(&self) -> u64 {
        self.step_bytes() + self.output.as_ref().map_or(0, |_| self.token_embd.bytes())
    }
}

/// Where a tensor goes.
enum Target {
    Rows { matrix: Matrix, placement: Placement },
    Vector(Buffer),
    RopeFactors,
}

/// Checks a file's tensors against its configuration, makes room for all of them, and remembers where each goes.
pub struct WeightLoader<'a> {
    gpu: &'a Gpu,
    config: &'a ModelConfig,
    tensors: &'a [TensorInfo],
    placed: Vec<(&'a TensorInfo, Target)>,
}

/// Why weights cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the variants are the rooms that failed")]
pub enum WeightsError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

impl<'a> WeightLoader<'a> {
    /// A loader for the tensors of one file.
    pub fn new(gpu: &'a Gpu, config: &'a ModelConfig, tensors: &'a [TensorInfo]) -> Self {
        Self { gpu, config, tensors, placed: Vec::new() }
    }

    /// Makes room for every tensor and streams them in, in the file's order. `arrived` hears of every chunk's bytes and may stop the load.
    ///
    /// # Errors
    /// A missing, unknown or misshapen tensor; an unsupported type; whatever the source, the device or `arrived` report.
    pub async fn load<E: From<WeightsError>>(
        mut self,
        source: &mut impl Source,
        mut arrived: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<Weights, E> {
        let mut weights = self.allocate().map_err(E::from)?;
        self.gpu.check().map_err(WeightsError::from)?;
        self.refuse_unknown().map_err(WeightsError::from)?;
        self.placed.sort_by_key(|(tensor, _)| tensor.offset);
        let mut uploader = Uploader::new(self.gpu, source).map_err(WeightsError::from)?;
        let mut relay = |bytes| arrived(bytes).map_err(Stop::Caller);
        for (tensor, target) in &self.placed {
            match target {
                Target::Rows { matrix, placement } => {
                    uploader.matrix(tensor, matrix, *placement, &mut relay).await.map_err(Stop::into_error)?;
                }
                Target::Vector(buffer) => {
                    let values = uploader.vector(tensor, tensor.columns()).await.map_err(WeightsError::from)?;
                    self.gpu.write(buffer, 0, bytemuck::cast_slice(&values));
                    relay(tensor.bytes).map_err(Stop::into_error)?;
                }
                Target::RopeFactors => {
                    weights.rope_factors = Some(uploader.vector(tensor, tensor.columns()).await.map_err(WeightsError::from)?);
                    relay(tensor.bytes).map_err(Stop::into_error)?;
                }
            }
        }
        self.gpu.idle().await.map_err(WeightsError::from)?;
        Ok(weights)
    }

    fn allocate(&mut self) -> Result<Weights, WeightsError> {
        let config = self.config;
        let embedding = config.embedding;
        let token_embd = self.matrix("token_embd.weight", config.vocab, embedding)?;
        let output = match self.find("output.weight") {
            Some(_) => Some(self.matrix("output.weight", config.vocab, embedding)?),
            None => None,
        };
        let mut layers = Vec::new();
        for layer in 0..config.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            layers.push(LayerWeights {
                attn_norm: self.vector(&name("attn_norm"), embedding)?,
                qkv: self.qkv(["attn_q", "attn_k", "attn_v"].map(name))?,
                attn_output: self.matrix(&name("attn_output"), embedding, config.heads * config.head_dim)?,
                ffn_norm: self.vector(&name("ffn_norm"), embedding)?,
                gate_up: self.gate_up(["ffn_gate", "ffn_up"].map(name))?,
                ffn_down: self.matrix(&name("ffn_down"), embedding, config.feed_forward)?,
            });
        }
        if let Some(tensor) = self.find("rope_freqs.weight") {
            self.expect(tensor, &[config.rope.dims / 2])?;
            self.placed.push((tensor, Target::RopeFactors));
        }
        Ok(Weights { token_embd, layers, output_norm: self.vector("output_norm.weight", embedding)?, output, rope_factors: None })
    }

    fn find(&self, name: &str) -> Option<&'a TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    fn needed(&self, name: &str) -> Result<&'a TensorInfo, ConfigError> {
        self.find(name)
            .ok_or_else(|| ConfigError::MissingTensor { tensor: name.into(), architecture: self.config.architecture.clone() })
    }

    fn expect(&self, tensor: &TensorInfo, dims: &[u32]) -> Result<(), ConfigError> {
        let expected: Vec<u64> = dims.iter().map(|dim| u64::from(*dim)).collect();
        let trimmed = tensor.dims.iter().rposition(|dim| *dim != 1).map_or(&tensor.dims[..1], |last| &tensor.dims[..=last]);
        let wanted = expected.iter().rposition(|dim| *dim != 1).map_or(&expected[..1], |last| &expected[..=last]);
        if trimmed == wanted {
            return Ok(());
        }
        Err(ConfigError::WrongShape { tensor: tensor.name.clone(), found: tensor.dims.clone(), expected })
    }

    fn vector(&mut self, name: &str, length: u32) -> Result<Buffer, WeightsError> {
        let tensor = self.needed(name)?;
        self.expect(tensor, &[length])?;
        let buffer = self.gpu.buffer(name, 4 * u64::from(length))?;
        self.placed.push((tensor, Target::Vector(buffer.clone())));
        Ok(buffer)
    }

    /// A tensor of (rows, columns) weights, checked.
    fn tensor(&self, name: &str, rows: u32, columns: u32) -> Result<(&'a TensorInfo, Format), WeightsError> {
        let tensor = self.needed(name)?;
        self.expect(tensor, &[columns, rows])?;
        Ok((tensor, matrix_format(tensor)?))
    }

    /// Room for a matrix of its own.
    fn matrix(&mut self, name: &str, rows: u32, columns: u32) -> Result<Matrix, WeightsError> {
        let (tensor, format) = self.tensor(name, rows, columns)?;
        let matrix = Matrix::new(self.gpu, name, format, rows, columns, PAIR_ROWS)?;
        self.placed.push((tensor, Target::Rows { matrix: matrix.clone(), placement: Placement::WHOLE }));
        Ok(matrix)
    }

    /// Room for the projections to queries, keys and values: neighbours whose types agree are stacked.
    fn qkv(&mut self, names: [String; 3]) -> Result<Vec<Projection>, WeightsError> {
        let ModelConfig { heads, kv_heads, head_dim, embedding, rope, .. } = *self.config;
        // Values do not turn.
        let reorder = (rope.layout == RopeLayout::HalfSplit).then_some(Reorder { head_rows: head_dim, rope_dims: rope.dims });
        let rows = [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim];
        let mut parts = Vec::new();
        for ((name, rows), reorder) in names.iter().zip(rows).zip([reorder, reorder, None]) {
            let (tensor, format) = self.tensor(name, rows, embedding)?;
            parts.push((tensor, format, rows, reorder));
        }
        let mut projections = Vec::new();
        let mut first = 0;
        for stack in parts.chunk_by(|a, b| a.1 == b.1) {
            let rows = stack.iter().map(|(_, _, rows, _)| rows).sum();
            let matrix = Matrix::new(self.gpu, &stack[0].0.name, stack[0].1, rows, embedding, head_dim)?;
            let mut first_quad = 0;
            for &(tensor, _, rows, reorder) in stack {
                let placement = Placement { first_quad, quad_step: 1, reorder };
                self.placed.push((tensor, Target::Rows { matrix: matrix.clone(), placement }));
                first_quad += rows / 4;
            }
            projections.push(Projection { matrix, first });
            first += rows;
        }
        Ok(projections)
    }

    /// Room for the gate and up projections: one matrix, quad by quad, if their types agree.
    fn gate_up(&mut self, names: [String; 2]) -> Result<GateUp, WeightsError> {
        let ModelConfig { feed_forward, embedding, .. } = *self.config;
        let [gate, up] = [self.tensor(&names[0], feed_forward, embedding)?, self.tensor(&names[1], feed_forward, embedding)?];
        if gate.1 != up.1 {
            let [gate, up] = names;
            return Ok(GateUp::Apart([self.matrix(&gate, feed_forward, embedding)?, self.matrix(&up, feed_forward, embedding)?]));
        }
        let matrix = Matrix::new(self.gpu, &names[0], gate.1, 2 * feed_forward, embedding, PAIR_ROWS)?;
        for (first_quad, (tensor, _)) in [gate, up].into_iter().enumerate() {
            let placement = Placement { first_quad: first_quad as u32, quad_step: 2, reorder: None };
            self.placed.push((tensor, Target::Rows { matrix: matrix.clone(), placement }));
        }
        Ok(GateUp::Interleaved(matrix))
    }

    fn refuse_unknown(&self) -> Result<(), ConfigError> {
        let known: std::collections::HashSet<&str> = self.placed.iter().map(|(tensor, _)| tensor.name.as_str()).collect();
        match self.tensors.iter().find(|tensor| !known.contains(tensor.name.as_str())) {
            None => Ok(()),
            Some(tensor) => {
                Err(ConfigError::UnknownTensor { tensor: tensor.name.clone(), architecture: self.config.architecture.clone() })
            }
        }
    }
}

/// What can end an upload: its own failure or the caller's wish.
enum Stop<E> {
    Upload(UploadError),
    Caller(E),
}

impl<E> From<UploadError> for Stop<E> {
    fn from(error: UploadError) -> Self {
        Stop::Upload(error)
    }
}

impl<E: From<WeightsError>> Stop<E> {
    fn into_error(self) -> E {
        match self {
            Stop::Upload(error) => WeightsError::from(error).into(),
            Stop::Caller(error) => error,
        }
    }
}
