//! Everything that can go wrong, as one type.

use crate::gpu::GpuError;
use crate::model::{ConfigError, WeightsError};
use crate::sampling::SamplingError;
use crate::text::{TemplateError, TokenizerError};
use crate::weights::UploadError;
use crate::weights::files::OpenError;
use crate::weights::gguf::GgufError;
use crate::weights::source::{HeaderError, SourceError};

/// A failure of the engine. Each message says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the variants are the rooms that failed; their fields are named in the messages")]
pub enum Error {
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error(transparent)]
    Files(OpenError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    #[error("the vocabulary has {tokens} tokens and the model's embedding only {rows} rows; the file is damaged")]
    Vocabulary { tokens: usize, rows: u32 },
    #[error("the prompt is empty; give at least one token")]
    EmptyPrompt,
    #[error("token id {id} is not in the vocabulary of {vocab}")]
    BadToken { id: u32, vocab: u32 },
    #[error(
        "the prompt is {prompt} tokens long and the context has room for {context}, of which one must be left for the answer; shorten it or load the model with a larger context"
    )]
    ContextExceeded { prompt: usize, context: u32 },
    #[error("a context of {wanted} tokens is more than the {trained} that this model was trained for; choose at most that")]
    ContextTooLarge { wanted: u32, trained: u32 },
    #[error(
        "a KV cache of type {kv_type} holds blocks of {block} numbers, and this model's heads have {head_dim}; choose f16 instead"
    )]
    KvBlocks { kv_type: &'static str, head_dim: u32, block: u32 },
    #[error("the operation was aborted")]
    Aborted,
}

/// What kind of failure it is, for exit codes and for callers that act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller asked for something that makes no sense.
    Arguments,
    /// The model file is bad or not supported.
    Model,
    /// There is no usable GPU.
    NoGpu,
    /// Memory ran out.
    Memory,
    /// The caller stopped it.
    Aborted,
    /// Anything else: network, disk, a lost device.
    Other,
}

impl Error {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Gpu(error) | Error::Upload(UploadError::Gpu(error)) => match error {
                GpuError::NoAdapter { .. }
                | GpuError::UnknownAdapter { .. }
                | GpuError::DeviceRefused { .. }
                | GpuError::TierUnavailable { .. }
                | GpuError::NoTimestamps { .. } => ErrorKind::NoGpu,
                GpuError::TooLarge { .. } | GpuError::OutOfMemory { .. } => ErrorKind::Memory,
                GpuError::DeviceLost { .. } | GpuError::Rejected { .. } => ErrorKind::Other,
            },
            // A file that ends too early is a bad model; a network that fails is not.
            Error::Source(error) | Error::Upload(UploadError::Source(error)) => match error {
                SourceError::Truncated { .. } => ErrorKind::Model,
                _ => ErrorKind::Other,
            },
            Error::Gguf(_)
            | Error::Files(_)
            | Error::Config(_)
            | Error::Upload(_)
            | Error::Tokenizer(_)
            | Error::Template(_)
            | Error::Vocabulary { .. } => ErrorKind::Model,
            Error::Sampling(_)
            | Error::EmptyPrompt
            | Error::BadToken { .. }
            | Error::ContextExceeded { .. }
            | Error::ContextTooLarge { .. }
            | Error::KvBlocks { .. } => ErrorKind::Arguments,
            Error::Aborted => ErrorKind::Aborted,
        }
    }

    /// The name that JavaScript callers and logs know this failure by.
    pub fn name(&self) -> &'static str {
        match self {
            Error::Gpu(error) | Error::Upload(UploadError::Gpu(error)) => match error {
                GpuError::NoAdapter { .. } => "WebGPUNotAvailableError",
                GpuError::DeviceLost { .. } => "DeviceLostError",
                GpuError::TooLarge { .. } | GpuError::OutOfMemory { .. } => "OutOfMemoryError",
                _ => "GpuError",
            },
            Error::Source(_) | Error::Upload(UploadError::Source(_)) => "SourceError",
            Error::Gguf(_) => "GgufError",
            Error::Files(OpenError::Gguf { .. }) => "GgufError",
            Error::Files(_) => "ModelFilesError",
            Error::Config(_) | Error::Upload(_) | Error::Vocabulary { .. } => "UnsupportedModelError",
            Error::Tokenizer(_) => "TokenizerError",
            Error::Template(_) => "ChatTemplateError",
            Error::Sampling(_)
            | Error::EmptyPrompt
            | Error::BadToken { .. }
            | Error::ContextTooLarge { .. }
            | Error::KvBlocks { .. } => "InvalidRequestError",
            Error::ContextExceeded { .. } => "ContextWindowSizeExceededError",
            Error::Aborted => "AbortError",
        }
    }
}

impl From<WeightsError> for Error {
    fn from(error: WeightsError) -> Self {
        match error {
            WeightsError::Config(error) => error.into(),
            WeightsError::Upload(error) => error.into(),
            WeightsError::Gpu(error) => error.into(),
        }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Source(error) => error.into(),
            error => Self::Files(error),
        }
    }
}

impl From<HeaderError> for Error {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Source(error) => error.into(),
            HeaderError::Gguf(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lack_of_memory_and_a_lost_device_are_known_wherever_they_come_from() {
        let full = || GpuError::OutOfMemory { in_use: 1 };
        let large = || GpuError::TooLarge { what: "keys".into(), bytes: 2, limit: 1 };
        let lost = || GpuError::DeviceLost { reason: "reset".into() };
        for (gpu, kind, name) in [
            (&full as &dyn Fn() -> GpuError, ErrorKind::Memory, "OutOfMemoryError"),
            (&large, ErrorKind::Memory, "OutOfMemoryError"),
            (&lost, ErrorKind::Other, "DeviceLostError"),
        ] {
            let ways: [Error; 4] = [
                gpu().into(),
                UploadError::Gpu(gpu()).into(),
                WeightsError::Gpu(gpu()).into(),
                WeightsError::Upload(UploadError::Gpu(gpu())).into(),
            ];
            for error in ways {
                assert_eq!((error.kind(), error.name()), (kind, name), "{error}");
            }
        }
    }
}
