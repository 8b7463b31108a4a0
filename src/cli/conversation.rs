//! A conversation: what was said, as the model's template and context take it.

use super::exit::Failure;
use kinglet::engine::{Engine, Error, FinishReason, Generation};
use kinglet::text::{LocalTime, Message, RenderOptions};
use std::collections::VecDeque;
use std::time::SystemTime;

/// Tokens that are kept free for an answer, if its length is not limited and the context is not small.
const ANSWER_TOKENS: u32 = 512;

/// A message and its answer.
struct Turn {
    user: String,
    assistant: String,
}

/// What was said so far.
#[derive(Default)]
pub struct Conversation {
    /// What the model is told before anything else.
    pub system: Option<String>,
    turns: VecDeque<Turn>,
}

/// A prompt that leaves room for an answer.
pub struct Fitted {
    /// The prompt.
    pub ids: Vec<u32>,
    /// How many of the oldest turns had to go.
    pub dropped: usize,
}

impl Conversation {
    /// Nothing was said yet.
    pub fn new(system: Option<String>) -> Self {
        Self { system, turns: VecDeque::new() }
    }

    /// Turns so far.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Forgets all that was said, but not the system message.
    pub fn clear(&mut self) {
        self.turns.clear();
    }

    /// Remembers a turn.
    pub fn push(&mut self, user: String, assistant: String) {
        self.turns.push_back(Turn { user, assistant });
    }

    /// The ids of the conversation with `user` as its last message, up to where the answer begins.
    pub fn encode(&self, engine: &Engine, user: &str) -> Result<Vec<u32>, Failure> {
        let said = self.turns.iter().flat_map(|turn| [("user", turn.user.as_str()), ("assistant", turn.assistant.as_str())]);
        let messages: Vec<Message> = self
            .system
            .iter()
            .map(|system| ("system", system.as_str()))
            .chain(said)
            .chain([("user", user)])
            .map(|(role, content)| Message::new(role, content))
            .collect();
        let rendered = engine.template().render(&messages, &RenderOptions { now: now(), ..RenderOptions::default() })?;
        Ok(engine.tokenizer().encode_rendered(&rendered)?)
    }

    /// As [`Self::encode`], and drops the oldest turns until there is room for an answer.
    pub fn fit(&mut self, engine: &Engine, user: &str, max_tokens: Option<u32>) -> Result<Fitted, Failure> {
        let context = engine.room();
        let reserve = max_tokens.unwrap_or(ANSWER_TOKENS).min(context / 4).max(1);
        let room = (context - reserve) as usize;
        let before = self.len();
        loop {
            let ids = self.encode(engine, user)?;
            if ids.len() <= room || (self.turns.is_empty() && ids.len() < context as usize) {
                return Ok(Fitted { ids, dropped: before - self.len() });
            }
            if self.turns.pop_front().is_none() {
                return Err(Error::ContextExceeded { prompt: ids.len(), context }.into());
            }
        }
    }
}

/// The time for templates that state it. In UTC: the standard library does not know the user's zone.
fn now() -> Option<LocalTime> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(LocalTime::from_unix(since.as_secs().try_into().ok()?))
}

/// What is full, if the answer ended for that.
pub fn full(engine: &Engine, generation: &Generation) -> Option<String> {
    let total = generation.prompt_tokens + generation.ids.len();
    if generation.finish_reason != FinishReason::Length || total < engine.room() as usize {
        return None;
    }
    Some(limit(engine))
}

/// What there is room for, and why no more.
pub fn limit(engine: &Engine) -> String {
    match (engine.room(), engine.context()) {
        (room, context) if room < context => format!("the GPU has no memory for more than {room} tokens of context"),
        (_, context) => format!("the context of {context} tokens is full"),
    }
}
