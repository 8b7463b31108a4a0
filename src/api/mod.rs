//! The API: OpenAI-shaped requests and replies, the messages between a page and its worker, and their mapping onto the engine.

pub mod protocol;
pub mod request;
pub mod types;

#[cfg(feature = "engine")]
mod chat;

#[cfg(feature = "engine")]
pub use chat::{chat, encode_chat};
