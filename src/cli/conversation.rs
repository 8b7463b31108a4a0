//! A conversation: what was said, as the model's template and context take it.

use super::exit::Failure;
use kinglet::api;
use kinglet::engine::{Engine, FinishReason, Generation};
use kinglet::text::{LocalTime, Message, RenderOptions};
use std::time::SystemTime;

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
    turns: Vec<Turn>,
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
        Self { system, turns: Vec::new() }
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
        self.turns.push(Turn { user, assistant });
    }

    /// The ids of the conversation with `user` as its last message, up to where the answer begins.
    pub fn encode(&self, engine: &Engine, user: &str) -> Result<Vec<u32>, Failure> {
        Ok(api::encode_chat(engine, &self.messages(user), &options())?)
    }

    /// As [`Self::encode`], but forgets the oldest turns where they leave no room for an answer.
    pub fn fit(&mut self, engine: &Engine, user: &str, max_tokens: Option<u32>) -> Result<Fitted, Failure> {
        let api::Fitted { ids, dropped } = api::fit_chat(engine, &self.messages(user), &options(), max_tokens)?;
        let dropped = dropped / 2;
        self.turns.drain(..dropped);
        Ok(Fitted { ids, dropped })
    }

    fn messages(&self, user: &str) -> Vec<Message> {
        let said = self.turns.iter().flat_map(|turn| [("user", turn.user.as_str()), ("assistant", turn.assistant.as_str())]);
        let system = self.system.iter().map(|system| ("system", system.as_str()));
        system.chain(said).chain([("user", user)]).map(|(role, content)| Message::new(role, content)).collect()
    }
}

fn options() -> RenderOptions {
    RenderOptions { now: now(), ..RenderOptions::default() }
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
