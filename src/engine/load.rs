//! From a source of bytes to an engine.

use super::{AbortSignal, Cost, Engine, Error};
use crate::gpu::{Gpu, GpuError};
use crate::kernels::KvType;
use crate::model::{Model, ModelConfig, TuningOptions, WeightLoader, tune};
use crate::text::{ChatTemplate, Tokenizer};
use crate::weights::files::{self, OpenError};
use crate::weights::gguf::Gguf;
use crate::weights::source::{Prefixed, Source, read_header};

/// What loading is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading the file's header.
    Header,
    /// Streaming weights to the GPU.
    Weights,
    /// Compiling kernels.
    Compile,
}

impl Phase {
    /// `header`, `weights` or `compile`.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Header => "header",
            Phase::Weights => "weights",
            Phase::Compile => "compile",
        }
    }
}

/// How far loading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Bytes of the file that have arrived.
    pub loaded: u64,
    /// Bytes of the file, where known.
    pub total: Option<u64>,
}

/// Choices that are made when a model is loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Tokens that prompt and answer may have together; unless given, [`ModelConfig::default_context`]. The KV cache begins with room for
    /// [`crate::model::RESERVED_CONTEXT`] of them, and grows.
    pub context: Option<u32>,
    /// Element type of the KV cache.
    pub kv_type: KvType,
    /// How the kernels are chosen.
    pub tuning: TuningOptions,
}

impl Engine {
    /// Loads a GGUF model of one file: reads the header, streams the weights to the GPU, compiles the kernels.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with the file, the source or the device; [`Error::Aborted`] if `abort` was raised.
    pub async fn load(
        gpu: Gpu,
        source: &mut impl Source,
        options: LoadOptions,
        progress: &mut dyn FnMut(Progress),
        abort: &AbortSignal,
    ) -> Result<Self, Error> {
        progress(Progress { phase: Phase::Header, loaded: 0, total: source.len() });
        let (gguf, prefix) = read_header(source).await?;
        if let Some(error) = files::alone(source.name(), &gguf)? {
            return Err(OpenError::from(error).into());
        }
        Self::load_opened(gpu, gguf, &mut Prefixed::new(source, prefix), options, progress, abort).await
    }

    /// Loads a model whose header has been read, such as one of several files ([`crate::weights::files`]): `source` has its tensors
    /// where `gguf` says.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn load_opened(
        gpu: Gpu,
        gguf: Gguf,
        source: &mut impl Source,
        options: LoadOptions,
        progress: &mut dyn FnMut(Progress),
        abort: &AbortSignal,
    ) -> Result<Self, Error> {
        let total = source.len();
        let config = ModelConfig::from_gguf(&gguf.metadata, &gguf.tensors)?;
        let context = match options.context {
            Some(wanted) if wanted == 0 || wanted > config.context => {
                return Err(Error::ContextTooLarge { wanted, trained: config.context });
            }
            Some(wanted) => wanted,
            None => config.default_context(),
        };
        let block = options.kv_type.block();
        if !config.head_dim.is_multiple_of(block) {
            return Err(Error::KvBlocks { kv_type: options.kv_type.name(), head_dim: config.head_dim, block });
        }
        // Known before a byte of the weights is fetched.
        let bytes = Cost::of(&config, &gguf.tensors, context, options.kv_type).context_piece_bytes;
        let limits = gpu.limits();
        let limit = limits.binding_bytes.min(limits.buffer_bytes);
        if bytes > limit {
            let what = format!("what attention keeps in one piece for {context} tokens of context");
            return Err(GpuError::TooLarge { what, bytes, limit }.into());
        }
        let tokenizer = Tokenizer::from_gguf(&gguf.metadata)?;
        if tokenizer.vocab_size() > config.vocab as usize {
            return Err(Error::Vocabulary { tokens: tokenizer.vocab_size(), rows: config.vocab });
        }
        let template = ChatTemplate::for_model(&gguf.metadata, &tokenizer)?;
        let (parameters, quantization) = (gguf.parameters(), gguf.quantization());
        drop(gguf.metadata);

        // What is no tensor's has arrived with the header.
        let data = gguf.tensors.iter().map(|tensor| tensor.bytes).sum();
        let mut loaded = total.map_or(gguf.data_offset, |total| total.saturating_sub(data));
        let report = |bytes: u64| -> Result<(), Error> {
            if abort.is_aborted() {
                return Err(Error::Aborted);
            }
            loaded += bytes;
            progress(Progress { phase: Phase::Weights, loaded, total });
            Ok(())
        };
        let mut weights = WeightLoader::new(&gpu, &config, context, options.kv_type, &gguf.tensors).load(source, report).await?;
        progress(Progress { phase: Phase::Compile, loaded, total });
        let tuned = tune(&gpu, &config, options.kv_type, &mut weights, options.tuning, &|| abort.is_aborted()).await?;
        if abort.is_aborted() {
            return Err(Error::Aborted);
        }
        let model = Model::new(&gpu, config, weights, context, options.kv_type, tuned)?;
        gpu.idle().await?;
        if abort.is_aborted() {
            return Err(Error::Aborted);
        }
        Ok(Self { gpu, model, tokenizer, template, parameters, quantization, cached: Vec::new() })
    }
}
