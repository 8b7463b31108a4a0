//! OpenAI's chat completion shapes: messages, the reply, the streamed chunk, usage, and llama-server's timings.

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use super::request::{ChatRequest, RequestError, StreamOptions, Truncation};

/// Who said a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions for the whole conversation (`developer` is read as the same).
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

impl Role {
    /// The name that chat templates compare with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message of the conversation; array content arrives here as its text parts joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub content: String,
}

impl ChatMessage {
    /// A message of `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// An end-of-generation token or a stop string.
    Stop,
    /// `max_tokens` or the end of the context.
    Length,
    /// The caller asked to stop; the text so far stands.
    Abort,
}

/// Tokens of the prompt that were not run again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTokensDetails {
    /// Tokens whose keys and values were still in the KV cache.
    pub cached_tokens: u32,
}

/// Token counts of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the rendered conversation, cached ones included.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub completion_tokens: u32,
    /// Both together.
    pub total_tokens: u32,
    /// Share of the prompt that came from the KV cache.
    #[serde(default)]
    pub prompt_tokens_details: PromptTokensDetails,
}

impl Usage {
    /// Usage of an answer of `completion` tokens to `prompt` tokens of which `cached` were not run again.
    pub fn new(prompt: u32, completion: u32, cached: u32) -> Self {
        Self {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt.saturating_add(completion),
            prompt_tokens_details: PromptTokensDetails { cached_tokens: cached },
        }
    }
}

/// llama-server's `timings`: how long prompt and answer took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Prompt tokens that were run (without cached ones).
    pub prompt_n: u32,
    /// Milliseconds for the prompt.
    pub prompt_ms: f64,
    /// Prompt tokens per second.
    pub prompt_per_second: f64,
    /// Tokens of the answer.
    pub predicted_n: u32,
    /// Milliseconds for the answer.
    pub predicted_ms: f64,
    /// Answer tokens per second.
    pub predicted_per_second: f64,
    /// Prompt tokens taken from the KV cache.
    pub cache_n: u32,
}

impl Timings {
    /// Timings from counts and seconds; a rate over no time is 0, so that the JSON stays finite.
    pub fn new(prompt_n: u32, prompt_s: f64, predicted_n: u32, predicted_s: f64, cache_n: u32) -> Self {
        let rate = |n: u32, s: f64| if s > 0.0 { f64::from(n) / s } else { 0.0 };
        Self {
            prompt_n,
            prompt_ms: prompt_s * 1e3,
            prompt_per_second: rate(prompt_n, prompt_s),
            predicted_n,
            predicted_ms: predicted_s * 1e3,
            predicted_per_second: rate(predicted_n, predicted_s),
            cache_n,
        }
    }
}

/// One answer of a reply; Kinglet gives exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Always 0.
    pub index: u32,
    /// The answer.
    pub message: ChatMessage,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Always null.
    pub logprobs: Option<Value>,
}

/// A whole answer: `chat.completion`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatReply {
    /// Unique within the engine's life, `chatcmpl-…`.
    pub id: String,
    /// `chat.completion`.
    pub object: String,
    /// Unix time in seconds.
    pub created: u64,
    /// The loaded model's name.
    pub model: String,
    /// Exactly one.
    pub choices: Vec<Choice>,
    /// Token counts.
    pub usage: Usage,
    /// How long it took.
    pub timings: Timings,
    /// Messages that [`Truncation::Auto`] left out: the first so many behind the leading system messages.
    #[serde(default)]
    pub dropped_messages: u32,
}

impl ChatReply {
    /// A reply with one choice.
    pub fn new(
        head: &ReplyHead,
        text: String,
        finish_reason: FinishReason,
        usage: Usage,
        timings: Timings,
        dropped_messages: u32,
    ) -> Self {
        Self {
            id: head.id.clone(),
            object: "chat.completion".into(),
            created: head.created,
            model: head.model.clone(),
            choices: vec![Choice { index: 0, message: ChatMessage::new(Role::Assistant, text), finish_reason, logprobs: None }],
            usage,
            timings,
            dropped_messages,
        }
    }

    /// The answer's text.
    pub fn text(&self) -> &str {
        self.choices.first().map_or("", |choice| choice.message.content.as_str())
    }
}

/// What all chunks and the reply of one answer share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyHead {
    /// Unique within the engine's life, `chatcmpl-…`.
    pub id: String,
    /// Unix time in seconds.
    pub created: u64,
    /// The loaded model's name.
    pub model: String,
}

/// What a chunk adds to the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// In the first chunk only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whole UTF-8 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// The one choice of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkChoice {
    /// Always 0.
    pub index: u32,
    /// What it adds.
    pub delta: Delta,
    /// In the last chunk with a choice only.
    pub finish_reason: Option<FinishReason>,
    /// Always null.
    pub logprobs: Option<Value>,
}

/// One piece of a streamed answer: `chat.completion.chunk`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatChunk {
    /// The same in all chunks of an answer.
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: String,
    /// Unix time in seconds.
    pub created: u64,
    /// The loaded model's name.
    pub model: String,
    /// One, or none in the usage chunk.
    pub choices: Vec<ChunkChoice>,
    /// In the usage chunk only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// In the chunk that carries the finish reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// In the same: as in [`ChatReply`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_messages: Option<u32>,
}

impl ChatChunk {
    fn of(head: &ReplyHead, delta: Delta, finish_reason: Option<FinishReason>) -> Self {
        Self {
            id: head.id.clone(),
            object: "chat.completion.chunk".into(),
            created: head.created,
            model: head.model.clone(),
            choices: vec![ChunkChoice { index: 0, delta, finish_reason, logprobs: None }],
            usage: None,
            timings: None,
            dropped_messages: None,
        }
    }

    /// The first chunk: the role and no text.
    pub fn role(head: &ReplyHead) -> Self {
        Self::of(head, Delta { role: Some(Role::Assistant), content: Some(String::new()) }, None)
    }

    /// A chunk that adds `text`.
    pub fn text(head: &ReplyHead, text: &str) -> Self {
        Self::of(head, Delta { role: None, content: Some(text.to_owned()) }, None)
    }

    /// The last chunk with a choice.
    pub fn finish(head: &ReplyHead, reason: FinishReason, timings: Timings, dropped_messages: u32) -> Self {
        let (timings, dropped_messages) = (Some(timings), Some(dropped_messages));
        Self { timings, dropped_messages, ..Self::of(head, Delta::default(), Some(reason)) }
    }

    /// The usage chunk that `stream_options.include_usage` asks for.
    pub fn usage(head: &ReplyHead, usage: Usage) -> Self {
        Self { choices: Vec::new(), usage: Some(usage), ..Self::of(head, Delta::default(), None) }
    }
}

#[cfg(test)]
#[path = "types_tests.rs"]
mod tests;
