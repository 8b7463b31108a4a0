//! The engine: loading a model, running the generate loop, keeping the KV prefix between calls.
//!
//! It knows neither HTTP nor JavaScript nor terminals: those call it and are told everything through values.

mod abort;
mod cost;
mod error;
mod generate;
mod load;
mod score;

pub use abort::AbortSignal;
pub use cost::{Cost, WeightCost};
pub use error::{Error, ErrorKind};
pub use generate::{FinishReason, GenerateParams, Generation, Timings};
pub use load::{LoadOptions, Phase, Progress};
pub use score::{Perplexity, negative_log_likelihood};

use crate::gpu::Gpu;
use crate::model::{Model, ModelConfig};
use crate::text::{ChatTemplate, Tokenizer};
use crate::weights::gguf::TensorType;

/// A loaded model, ready to answer. One answer runs at a time; what it read stays in the KV cache for the next.
#[derive(Debug)]
pub struct Engine {
    gpu: Gpu,
    model: Model,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    parameters: u64,
    quantization: Option<TensorType>,
    /// The ids whose keys and values are in the cache.
    cached: Vec<u32>,
}

impl Engine {
    /// The device that it runs on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    /// The model on the GPU.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model on the GPU, to drive by hand. What this leaves in the KV cache is forgotten.
    pub fn model_mut(&mut self) -> &mut Model {
        self.cached.clear();
        &mut self.model
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The model's chat template.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// Number of weights in the file.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// The type that most weights are stored as in the file.
    pub fn quantization(&self) -> Option<TensorType> {
        self.quantization
    }

    /// Tokens that prompt and answer may have together.
    pub fn context(&self) -> u32 {
        self.model.context()
    }

    /// Tokens that prompt and answer may have together as things are: the context, or less, if the device had no room for more when it was last
    /// asked. It is asked again whenever more is needed.
    pub fn room(&self) -> u32 {
        self.model.room()
    }

    /// Forgets what is in the KV cache, so that the next call reads its whole prompt again.
    pub fn reset(&mut self) {
        self.cached.clear();
    }

    fn check_prompt(&self, ids: &[u32]) -> Result<(), Error> {
        if ids.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let vocab = self.config().vocab;
        if let Some(&id) = ids.iter().find(|id| **id >= vocab) {
            return Err(Error::BadToken { id, vocab });
        }
        Ok(())
    }
}
