//! Kinglet runs open language models on the user's own GPU: in a web page, inside any web app, and natively on the desktop.
//!
//! [`engine::Engine`] loads a GGUF model from a [`weights::source::Source`] and answers; [`api`] shapes requests and replies as OpenAI does.
//! ARCHITECTURE.md says which module owns what.
#![warn(missing_docs)]

pub mod api;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "engine")]
pub mod gpu;
#[cfg(feature = "engine")]
pub mod kernels;
#[cfg(feature = "engine")]
pub mod model;
#[cfg(feature = "engine")]
pub mod sampling;
#[cfg(feature = "engine")]
pub mod text;
#[cfg(all(feature = "worker", target_arch = "wasm32"))]
pub mod web;
#[cfg(feature = "engine")]
pub mod weights;
