//! Text: from words to token ids and back. Tokenizers, chat templates, incremental detokenizing, stop strings.
//!
//! A [`Tokenizer`] comes from a GGUF file's metadata or from a `tokenizer.json`; a [`ChatTemplate`] turns messages into a
//! [`Rendered`] prompt in which user text can never become a special token; a [`Detokenizer`] and [`StopStrings`] turn
//! generated ids into text while they arrive.

mod bpe;
mod chat;
mod detokenizer;
mod error;
mod fragments;
mod guard;
mod jinja;
mod json;
mod pretokenize;
mod pretokenizers;
mod shape;
mod special;
mod spm;
mod stop;
mod strftime;
mod template;
mod tokenizer;
#[cfg(test)]
mod tokenizer_tests;
mod vocab;

pub use chat::{Message, RenderOptions, ToolCall, ToolCallFunction};
pub use detokenizer::Detokenizer;
pub use error::{TemplateError, TokenizerError};
pub use guard::Rendered;
pub use pretokenizers::known_pre_tokenizers;
pub use stop::{StopOutcome, StopStrings};
pub use strftime::LocalTime;
pub use template::{ChatTemplate, TemplateOrigin};
pub use tokenizer::{AddBos, DecodeOptions, Encode, Tokenizer};
