//! Weights: reading model files, where their bytes come from, and what their quantization types mean.

pub mod convert;
pub mod dequant;
pub mod files;
pub mod gguf;
pub mod hf;
pub mod known;
pub mod source;
pub mod types;

#[cfg(feature = "engine")]
mod matrix;
#[cfg(feature = "engine")]
mod upload;

#[cfg(feature = "engine")]
pub use matrix::{Matrix, Shard, format_of, matrix_bytes};
#[cfg(feature = "engine")]
pub use upload::{CHUNK_BYTES, Placement, UploadError, Uploader, matrix_format};
