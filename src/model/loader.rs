//! How a file's tensors become a model's weights: which go where, checked before anything is fetched.

mod feed_forward;

use super::config::{ConfigError, ModelConfig, Rope, RopeLayout, RopeScaling};
use super::rope;
use super::weights::{FeedForward, LayerWeights, Linear, NormWeights, Projection, Qkv, QkvBias, Weights};
use super::widen::Widening;
use crate::gpu::{Buffer, Gpu, GpuError};
use crate::kernels::{Format, HeadNormOver, KvType, Reorder, bias_offset, rope_turns};
use crate::weights::gguf::TensorInfo;
use crate::weights::source::Source;
use crate::weights::{Matrix, Placement, UploadError, Uploader, matrix_format};

/// Rows that the kernels take together.
const PAIR_ROWS: u32 = 8;

/// Where a tensor's rows or numbers go.
enum Target {
    Rows {
        matrix: Matrix,
        placement: Placement,
    },
    /// `order`: which of the tensor's numbers comes where, if not in the tensor's order.
    Vector {
        buffer: Buffer,
        offset: u64,
        order: Option<Vec<u32>>,
    },
    RopeFactors,
    /// Known, but this model does not need it.
    Unused,
}

/// Checks a file's tensors against its configuration, makes room for all of them, and remembers where each goes.
pub struct WeightLoader<'a> {
    gpu: &'a Gpu,
    config: &'a ModelConfig,
    context: u32,
    kv_type: KvType,
    tensors: &'a [TensorInfo],
    widening: Widening,
    placed: Vec<(&'a TensorInfo, Target)>,
    /// The turns of layers, to be filled when the frequencies are known.
    turns: Vec<(Option<Rope>, Buffer)>,
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
    /// A loader for the tensors of one file, for sequences of up to `context` positions whose keys and values are stored as `kv_type`.
    pub fn new(gpu: &'a Gpu, config: &'a ModelConfig, context: u32, kv_type: KvType, tensors: &'a [TensorInfo]) -> Self {
        let widening = Widening::of(config, tensors);
        Self { gpu, config, context, kv_type, tensors, widening, placed: Vec::new(), turns: Vec::new() }
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
        let weights = self.allocate().map_err(E::from)?;
        self.gpu.check().map_err(WeightsError::from)?;
        self.refuse_unknown().map_err(WeightsError::from)?;
        self.placed.sort_by_key(|(tensor, _)| tensor.offset);
        let mut uploader = Uploader::new(self.gpu, source).map_err(WeightsError::from)?;
        let mut relay = |bytes| arrived(bytes).map_err(Stop::Caller);
        let mut factors = None;
        for (tensor, target) in &self.placed {
            match target {
                Target::Rows { matrix, placement } => {
                    uploader.matrix(tensor, matrix, placement.clone(), &mut relay).await.map_err(Stop::into_error)?;
                    continue;
                }
                Target::Vector { buffer, offset, order } => {
                    let values = uploader.vector(tensor, tensor.elements()).await.map_err(WeightsError::from)?;
                    let placed: Vec<f32> = match order {
                        Some(order) => order.iter().filter_map(|index| values.get(*index as usize).copied()).collect(),
                        None => values,
                    };
                    self.gpu.write(buffer, *offset, bytemuck::cast_slice(&placed));
                }
                Target::RopeFactors => {
                    factors = Some(uploader.vector(tensor, tensor.elements()).await.map_err(WeightsError::from)?);
                }
                Target::Unused => {}
            }
            relay(tensor.bytes).map_err(Stop::into_error)?;
        }
        for (rope, buffer) in &self.turns {
            let frequencies = rope.map(|rope| rope::frequencies(&rope, factors.as_deref())).unwrap_or_default();
            self.gpu.write(buffer, 0, bytemuck::cast_slice(&rope_turns(&frequencies)));
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
        let output_bias = self.optional_vector("output.bias", config.vocab)?;
        let position_embd = match config.learned_positions {
            true => Some(self.matrix("position_embd.weight", config.context, embedding)?),
            false => None,
        };
        let token_embd_norm = self.optional_norm("token_embd_norm")?;
        let layers = (0..config.layers).map(|layer| self.layer(layer)).collect::<Result<_, _>>()?;
        self.rope_factors()?;
        let output_norm = self.norm("output_norm")?;
        Ok(Weights { token_embd, position_embd, token_embd_norm, layers, output_norm, output, output_bias })
    }

    fn layer(&mut self, layer: u32) -> Result<LayerWeights, WeightsError> {
        let ModelConfig { embedding, heads, head_dim, .. } = *self.config;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let qkv = self.qkv(layer)?;
        let attn_output = self.linear(&name("attn_output"), embedding, heads * head_dim)?;
        let feed_forward = self.feed_forward(layer)?;
        let [mut attn_norm, mut ffn_norm] = match self.config.bare_norms {
            true => [Some(self.norm(&name("attn_norm"))?), Some(self.norm(&name("ffn_norm"))?)],
            false => [self.optional_norm(&name("attn_norm"))?, self.optional_norm(&name("ffn_norm"))?],
        };
        // Falcon 40B calls the feed-forward network's norm `attn_norm`, and attention's `attn_norm_2`.
        if let Some(second) = self.optional_norm(&name("attn_norm_2"))? {
            ffn_norm = attn_norm.replace(second);
        }
        let post_attention_norm = self.optional_norm(&name("post_attention_norm"))?;
        let post_ffw_norm = self.optional_norm(&name("post_ffw_norm"))?;
        for (half, before, after) in [("attn", &attn_norm, &post_attention_norm), ("ffn", &ffn_norm, &post_ffw_norm)] {
            let shared = half == "ffn" && self.config.parallel && attn_norm.is_some();
            if before.is_none() && after.is_none() && !shared {
                return Err(self.missing(&name(&format!("{half}_norm.weight"))).into());
            }
        }
        if let (FeedForward::Experts(_), Some(_)) = (&feed_forward, &post_ffw_norm) {
            let tensor = name("post_ffw_norm.weight");
            return Err(ConfigError::UnknownTensor { tensor, architecture: self.config.architecture.clone() }.into());
        }
        Ok(LayerWeights { attn_norm, qkv, attn_output, post_attention_norm, ffn_norm, feed_forward, post_ffw_norm })
    }

    /// The factors on RoPE's frequencies: of LongRoPE's two tensors the one that serves the context.
    fn rope_factors(&mut self) -> Result<(), WeightsError> {
        let Some(rope) = self.config.rope else { return Ok(()) };
        let (wanted, other) = match rope.scaling {
            RopeScaling::Long { original_context, .. } if self.context > original_context => {
                ("rope_factors_long.weight", "rope_factors_short.weight")
            }
            RopeScaling::Long { .. } => ("rope_factors_short.weight", "rope_factors_long.weight"),
            _ => ("rope_freqs.weight", ""),
        };
        if matches!(rope.scaling, RopeScaling::Long { .. }) {
            self.needed(wanted)?;
        }
        for (name, target) in [(wanted, Target::RopeFactors), (other, Target::Unused)] {
            if let Some(tensor) = self.find(name) {
                self.expect(tensor, &[rope.dims / 2])?;
                self.placed.push((tensor, target));
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&'a TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    fn missing(&self, name: &str) -> ConfigError {
        ConfigError::MissingTensor { tensor: name.into(), architecture: self.config.architecture.clone() }
    }

    fn needed(&self, name: &str) -> Result<&'a TensorInfo, ConfigError> {
        self.find(name).ok_or_else(|| self.missing(name))
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

    /// Room for a vector of its own. Kernels read vectors four numbers at a time.
    fn vector(&mut self, name: &str, length: u32) -> Result<Buffer, WeightsError> {
        let buffer = self.gpu.buffer(name, 4 * u64::from(length.next_multiple_of(4)))?;
        self.part_of_vector(name, &[length], &buffer, 0, None)?;
        Ok(buffer)
    }

    fn part_of_vector(
        &mut self,
        name: &str,
        dims: &[u32],
        buffer: &Buffer,
        offset: u64,
        order: Option<Vec<u32>>,
    ) -> Result<(), WeightsError> {
        let tensor = self.needed(name)?;
        self.expect(tensor, dims)?;
        self.placed.push((tensor, Target::Vector { buffer: buffer.clone(), offset, order }));
        Ok(())
    }

    fn optional_vector(&mut self, name: &str, length: u32) -> Result<Option<Buffer>, WeightsError> {
        self.find(name).map(|_| self.vector(name, length)).transpose()
    }

    fn norm(&mut self, name: &str) -> Result<NormWeights, WeightsError> {
        if self.config.bare_norms {
            let ones = vec![1f32; self.config.embedding as usize];
            return Ok(NormWeights { weight: self.gpu.upload(name, &ones)?, bias: None });
        }
        let weight = self.vector(&format!("{name}.weight"), self.config.embedding)?;
        Ok(NormWeights { weight, bias: self.optional_vector(&format!("{name}.bias"), self.config.embedding)? })
    }

    fn optional_norm(&mut self, name: &str) -> Result<Option<NormWeights>, WeightsError> {
        self.find(&format!("{name}.weight")).map(|_| self.norm(name)).transpose()
    }

    /// A tensor of (rows, columns) weights, checked.
    fn tensor(&self, name: &str, rows: u32, columns: u32) -> Result<(&'a TensorInfo, Format), WeightsError> {
        let tensor = self.needed(name)?;
        self.expect(tensor, &[columns, rows])?;
        Ok((tensor, self.format(tensor)?))
    }

    /// The format that a matrix is stored in.
    fn format(&self, tensor: &TensorInfo) -> Result<Format, UploadError> {
        let own = matrix_format(tensor)?;
        Ok(self.widening.format(tensor).unwrap_or(own))
    }

    /// Room for a matrix of its own.
    fn matrix(&mut self, name: &str, rows: u32, columns: u32) -> Result<Matrix, WeightsError> {
        let (tensor, format) = self.tensor(name, rows, columns)?;
        let matrix = Matrix::new(self.gpu, name, format, rows, columns, PAIR_ROWS)?;
        self.placed.push((tensor, Target::Rows { matrix: matrix.clone(), placement: Placement::whole(rows) }));
        Ok(matrix)
    }

    fn linear(&mut self, name: &str, rows: u32, columns: u32) -> Result<Linear, WeightsError> {
        let matrix = self.matrix(&format!("{name}.weight"), rows, columns)?;
        Ok(Linear { matrix, bias: self.optional_vector(&format!("{name}.bias"), rows)? })
    }

    /// Room for queries, keys and values: neighbours whose types agree, as in the file or widened, are stacked.
    fn qkv(&mut self, layer: u32) -> Result<Qkv, WeightsError> {
        let ModelConfig { heads, kv_heads, head_dim, embedding, clamp, .. } = *self.config;
        let rope = self.config.rope_of(layer).copied();
        // All layers of a model keep heads in the same order, those without RoPE too. Values do not turn.
        let reorder = self
            .config
            .rope
            .filter(|rope| rope.layout == RopeLayout::HalfSplit)
            .map(|rope| Reorder { head_rows: head_dim, rope_dims: rope.dims });
        let name = |part: &str| format!("blk.{layer}.{part}");
        let rows = [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim];
        let firsts = [0, rows[0], rows[0] + rows[1]];
        let all = firsts[2] + rows[2];
        let reorders = [reorder, reorder, None];
        let fused = self.find(&name("attn_qkv.weight")).is_some();
        let mut parts = Vec::new();
        for (i, part) in ["attn_q.weight", "attn_k.weight", "attn_v.weight"].map(name).iter().enumerate() {
            let (tensor, format) = match fused {
                true => self.tensor(&name("attn_qkv.weight"), all, embedding)?,
                false => self.tensor(part, rows[i], embedding)?,
            };
            let first_row = if fused { firsts[i] } else { 0 };
            parts.push((tensor, format, first_row..first_row + rows[i], reorders[i]));
        }
        let mut projections = Vec::new();
        let mut first = 0;
        for stack in parts.chunk_by(|a, b| a.1 == b.1) {
            let rows = stack.iter().map(|(_, _, rows, _)| rows.end - rows.start).sum();
            let matrix = Matrix::new(self.gpu, &stack[0].0.name, stack[0].1, rows, embedding, head_dim)?;
            let mut first_quad = 0;
            for (tensor, _, rows, reorder) in stack {
                let count = rows.end - rows.start;
                let placement = Placement { rows: rows.clone(), first_quad, quad_step: 1, reorder: *reorder };
                self.placed.push((tensor, Target::Rows { matrix: matrix.clone(), placement }));
                first_quad += count / 4;
            }
            projections.push(Projection { matrix, first });
            first += rows;
        }

        let norm = self.head_norms(layer, reorder)?;
        let fused_bias = self.find(&name("attn_qkv.bias")).is_some();
        let any_bias =
            fused_bias || ["attn_q.bias", "attn_k.bias", "attn_v.bias"].iter().any(|part| self.find(&name(part)).is_some());
        let turns_bytes = bias_offset(rope.map_or(0, |rope| rope.dims));
        let between = norm.is_some() || clamp > 0.0 || !self.kv_type.is_plain();
        let behind = if any_bias && !between { 4 * u64::from(all) } else { 0 };
        let turns = self.gpu.buffer("turns", turns_bytes + behind)?;
        self.turns.push((rope, turns.clone()));
        let bias = match (any_bias, between) {
            (false, _) => QkvBias::None,
            (true, false) => QkvBias::BehindTurns,
            (true, true) => QkvBias::Own(self.gpu.buffer("q, k and v bias", 4 * u64::from(all))?),
        };
        let (buffer, start) = match &bias {
            QkvBias::Own(own) => (own.clone(), 0),
            _ => (turns.clone(), turns_bytes),
        };
        let orders = [0, 1, 2].map(|i| order(rows[i], reorders[i]));
        if fused_bias {
            let order = orders.iter().zip(firsts).flat_map(|(order, first)| order.iter().map(move |index| first + index)).collect();
            self.part_of_vector(&name("attn_qkv.bias"), &[all], &buffer, start, Some(order))?;
        } else if any_bias {
            for (i, order) in orders.into_iter().enumerate() {
                let part = name(["attn_q.bias", "attn_k.bias", "attn_v.bias"][i]);
                if self.find(&part).is_some() {
                    self.part_of_vector(&part, &[rows[i]], &buffer, start + 4 * u64::from(firsts[i]), Some(order))?;
                }
            }
        }
        Ok(Qkv { projections, turns, bias, norm, between })
    }

    /// The norms of queries and keys, whose weights go where the rows of their heads go.
    fn head_norms(&mut self, layer: u32, reorder: Option<Reorder>) -> Result<Option<(HeadNormOver, [Buffer; 2])>, WeightsError> {
        let ModelConfig { heads, kv_heads, head_dim, .. } = *self.config;
        let names = ["attn_q_norm", "attn_k_norm"].map(|part| format!("blk.{layer}.{part}.weight"));
        let Some(query) = self.find(&names[0]) else { return Ok(None) };
        let over = match &query.dims[..] {
            [dim] | [dim, 1] if *dim == u64::from(head_dim) => HeadNormOver::Head,
            [_] => HeadNormOver::All,
            _ => HeadNormOver::OwnHead,
        };
        let mut buffers = Vec::new();
        for (name, heads) in names.iter().zip([heads, kv_heads]) {
            let dims = match over {
                HeadNormOver::Head => vec![head_dim],
                HeadNormOver::OwnHead => vec![head_dim, heads],
                HeadNormOver::All => vec![head_dim * heads],
            };
            let length = dims.iter().product();
            let buffer = self.gpu.buffer(name, 4 * u64::from(length))?;
            self.part_of_vector(name, &dims, &buffer, 0, Some(order(length, reorder)))?;
            buffers.push(buffer);
        }
        Ok(<[Buffer; 2]>::try_from(buffers).ok().map(|buffers| (over, buffers)))
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

/// Which row of a tensor comes where.
fn order(rows: u32, reorder: Option<Reorder>) -> Vec<u32> {
    (0..rows).map(|row| reorder.map_or(row, |reorder| reorder.source_row(row))).collect()
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
