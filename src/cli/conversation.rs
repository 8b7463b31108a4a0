//! A conversation: what was said, as the model's template and context take it.

use super::exit::Failure;
use kinglet::api::types::Truncation;
use kinglet::api::{self, AnswerEvent, FittedChat};
use kinglet::engine::{AbortSignal, Engine, FinishReason, GenerateParams, Generation};
use kinglet::text::{LocalTime, Message, RenderOptions};
use pollster::block_on;
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

    /// The ids of the conversation with `user` as its last message, up to where the answer begins.
    pub fn encode(&self, engine: &Engine, user: &str) -> Result<Vec<u32>, Failure> {
        Ok(api::encode_chat(engine, &self.messages(user), &options())?)
    }

    /// Answers `user`, without the oldest turns where there is no room for them. Forgets these, and remembers the answer, unless it was stopped
    /// before its first word, which leaves nothing to go on from.
    pub fn answer(
        &mut self,
        engine: &mut Engine,
        user: String,
        params: &GenerateParams,
        tell: &mut dyn FnMut(AnswerEvent<'_>),
        abort: &AbortSignal,
    ) -> Result<Generation, Failure> {
        let (messages, options) = (self.messages(&user), options());
        let answer = api::answer_chat(engine, &messages, &options, Truncation::Auto, params, tell, abort);
        let (generation, fitted) = block_on(answer)?;
        self.turns.drain(..turns(&fitted));
        if !(generation.finish_reason == FinishReason::Abort && generation.text.is_empty()) {
            self.turns.push(Turn { user, assistant: generation.text.clone() });
        }
        Ok(generation)
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
    Some(limit(engine.room(), engine.context()))
}

/// What there is room for, and why no more.
pub fn limit(room: u32, context: u32) -> String {
    match room < context {
        true => format!("the GPU has no memory for more than {room} tokens of context"),
        false => format!("the context of {context} tokens is full"),
    }
}

/// Turns that were left out of a prompt: a message and its answer each.
pub fn turns(fitted: &FittedChat) -> usize {
    fitted.dropped / 2
}
