//! A model's weights on the GPU, and how a file's tensors get there.

use super::config::{ConfigError, ModelConfig};
use crate::gpu::{Buffer, Gpu, GpuError};
use crate::weights::gguf::TensorInfo;
use crate::weights::source::Source;
use crate::weights::{Matrix, UploadError, Uploader, matrix_format};

/// A matrix and where its rows go in a row of its output.
#[derive(Debug)]
pub struct Projection {
    /// The weights.
    pub matrix: Matrix,
    /// The output element of the matrix's row 0.
    pub first: u32,
}

/// One transformer block.
#[derive(Debug)]
pub struct LayerWeights {
    /// `attn_norm.weight`
    pub attn_norm: Buffer,
    /// `attn_q`, `attn_k`, `attn_v`: one stacked matrix where their types agree, else three.
    pub qkv: Vec<Projection>,
    /// `attn_output.weight`
    pub attn_output: Projection,
    /// `ffn_norm.weight`
    pub ffn_norm: Buffer,
    /// `ffn_gate`, `ffn_up`: one stacked matrix where their types agree, else two.
    pub gate_up: Vec<Projection>,
    /// `ffn_down.weight`
    pub ffn_down: Projection,
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
        let projections = |list: &[Projection]| list.iter().map(|projection| projection.matrix.bytes()).sum::<u64>();
        let layer = |layer: &LayerWeights| {
            projections(&layer.qkv)
                + layer.attn_output.matrix.bytes()
                + projections(&layer.gate_up)
                + layer.ffn_down.matrix.bytes()
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
    Rows { matrix: Matrix, first_row: u32 },
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
                Target::Rows { matrix, first_row } => {
                    uploader.matrix(tensor, matrix, *first_row, &mut relay).await.map_err(Stop::into_error)?;
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
        let q_rows = config.heads * config.head_dim;
        let kv_rows = config.kv_heads * config.head_dim;
        let token_embd = self.matrix(&[("token_embd.weight".into(), config.vocab)], embedding)?.remove(0).matrix;
        let output = match self.find("output.weight") {
            Some(_) => Some(self.matrix(&[("output.weight".into(), config.vocab)], embedding)?.remove(0).matrix),
            None => None,
        };
        let mut layers = Vec::new();
        for layer in 0..config.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            layers.push(LayerWeights {
                attn_norm: self.vector(&name("attn_norm"), embedding)?,
                qkv: self.matrix(&[(name("attn_q"), q_rows), (name("attn_k"), kv_rows), (name("attn_v"), kv_rows)], embedding)?,
                attn_output: self.matrix(&[(name("attn_output"), embedding)], q_rows)?.remove(0),
                ffn_norm: self.vector(&name("ffn_norm"), embedding)?,
                gate_up: self
                    .matrix(&[(name("ffn_gate"), config.feed_forward), (name("ffn_up"), config.feed_forward)], embedding)?,
                ffn_down: self.matrix(&[(name("ffn_down"), embedding)], config.feed_forward)?.remove(0),
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

    /// Room for matrices whose outputs stand side by side: one stacked matrix where the types agree and rows are whole quads.
    fn matrix(&mut self, parts: &[(String, u32)], columns: u32) -> Result<Vec<Projection>, WeightsError> {
        let mut found = Vec::new();
        for (name, rows) in parts {
            let tensor = self.needed(name)?;
            self.expect(tensor, &[columns, *rows])?;
            found.push((tensor, matrix_format(tensor)?, *rows));
        }
        let stackable = found.iter().all(|(_, format, rows)| *format == found[0].1 && rows.is_multiple_of(4));
        let mut projections = Vec::new();
        let mut first = 0;
        if stackable {
            let rows = found.iter().map(|(_, _, rows)| rows).sum();
            let matrix = Matrix::new(self.gpu, &parts[0].0, found[0].1, rows, columns)?;
            for (tensor, _, rows) in found {
                self.placed.push((tensor, Target::Rows { matrix: matrix.clone(), first_row: first }));
                first += rows;
            }
            projections.push(Projection { matrix, first: 0 });
        } else {
            for (tensor, format, rows) in found {
                let matrix = Matrix::new(self.gpu, &tensor.name, format, rows, columns)?;
                self.placed.push((tensor, Target::Rows { matrix: matrix.clone(), first_row: 0 }));
                projections.push(Projection { matrix, first });
                first += rows;
            }
        }
        Ok(projections)
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
