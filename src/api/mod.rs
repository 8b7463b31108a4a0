//! The API: OpenAI-shaped requests and replies, the messages between a page and its worker, and their mapping onto the engine.

pub mod protocol;
pub mod request;
pub mod types;

#[cfg(feature = "engine")]
mod chat;
#[cfg(feature = "engine")]
mod fit;

#[cfg(feature = "engine")]
pub use chat::chat;
#[cfg(feature = "engine")]
pub use fit::{AnswerEvent, FittedChat, answer_chat, encode_chat};
