//! What the page knows, and what can happen to it: load, send, stop, and everything the worker says.

use std::cell::RefCell;
use std::rc::Rc;

use kinglet::api::protocol::{EngineInfo, ErrorBody, FromWorker, LoadOptions, LoadPhase, ToWorker};
use kinglet::api::types::{ChatChunk, ChatMessage, ChatReply, ChatRequest, FinishReason, Role, StreamOptions, Truncation};
use leptos::prelude::*;
use web_sys::File;

use super::format;
use super::settings::Settings;
use super::worker::Client;

/// Where the page is; written to `document.body.dataset.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing loaded yet.
    Idle,
    /// A model is on its way.
    Loading,
    /// Waiting for a message.
    Ready,
    /// An answer is on its way.
    Answering,
    /// The load or the engine failed.
    Error,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Answering => "answering",
            Self::Error => "error",
        }
    }
}

/// How far the load has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    pub phase: LoadPhase,
    pub loaded: u64,
    pub total: Option<u64>,
    pub bytes_per_second: f64,
}

/// What to load.
#[derive(Clone)]
pub enum Model {
    Url(String),
    /// One file, all parts of one, or those of a Hugging Face model.
    Files(Vec<File>),
}

impl Model {
    pub fn name(&self) -> String {
        match self {
            Self::Url(url) => format::file_name(url),
            Self::Files(files) => files.first().map(File::name).unwrap_or_default(),
        }
    }
}

/// How an answer stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Still being written; nothing was heard yet where `tokens` is 0.
    Open {
        tokens: u32,
        per_second: f64,
    },
    Done {
        /// Why, where that is not plain.
        ending: Option<&'static str>,
        /// Messages that the model was not told any more.
        dropped: u32,
        tokens: u32,
        per_second: f64,
        first_token_ms: f64,
    },
    Failed(ErrorBody),
    /// The engine went away in the middle; the page tells why.
    Cut,
}

/// One message on the page. Reference-counted signals: a turn outlives the event handler that makes it.
#[derive(Clone)]
pub struct Turn {
    pub id: u64,
    pub role: Role,
    pub text: ArcRwSignal<String>,
    pub outcome: ArcRwSignal<Outcome>,
}

/// The parts that are not signals.
#[derive(Default)]
struct Engine {
    client: Option<Client>,
    next_id: u64,
    load_id: u64,
    chat_id: u64,
    /// The model to load again after a failure.
    model: Option<Model>,
    answer: Option<Answer>,
}

/// The answer that is being streamed; its text reaches the page once a frame.
struct Answer {
    turn: Turn,
    pending: String,
    /// Tokens that were asked for at most.
    most: u32,
    tokens: u32,
    first_at: f64,
    last_at: f64,
    frame_asked: bool,
}

/// The page's state; a handle that is copied everywhere.
#[derive(Clone, Copy)]
pub struct State {
    pub phase: RwSignal<Phase>,
    pub progress: RwSignal<Option<Progress>>,
    pub loading_name: RwSignal<String>,
    pub info: RwSignal<Option<EngineInfo>>,
    pub problem: RwSignal<Option<ErrorBody>>,
    pub turns: RwSignal<Vec<Turn>>,
    pub settings: RwSignal<Settings>,
    /// Tokens of the context that the conversation fills, as of the last answer.
    pub context_used: RwSignal<u32>,
    /// Changes with every frame that brought text: the message list scrolls along.
    pub beat: RwSignal<u32>,
    engine: StoredValue<Rc<RefCell<Engine>>, LocalStorage>,
}

fn now() -> f64 {
    web_sys::window().and_then(|window| window.performance()).map_or(0.0, |clock| clock.now())
}

impl State {
    pub fn new() -> Self {
        Self {
            phase: RwSignal::new(Phase::Idle),
            progress: RwSignal::new(None),
            loading_name: RwSignal::new(String::new()),
            info: RwSignal::new(None),
            problem: RwSignal::new(None),
            turns: RwSignal::new(Vec::new()),
            settings: RwSignal::new(Settings::restored()),
            context_used: RwSignal::new(0),
            beat: RwSignal::new(0),
            engine: StoredValue::new_local(Rc::default()),
        }
    }

    fn engine<T>(self, act: impl FnOnce(&mut Engine) -> T) -> T {
        let engine = self.engine.get_value();
        let mut engine = engine.borrow_mut();
        act(&mut engine)
    }

    fn post(self, message: ToWorker, files: &[File]) {
        self.engine(|engine| {
            if let Some(client) = &engine.client {
                client.post(&message, files);
            }
        });
    }

    fn next_id(self) -> u64 {
        self.engine(|engine| {
            engine.next_id += 1;
            engine.next_id
        })
    }

    /// Loads a model; the conversation stays.
    pub fn load(self, model: Model) {
        if self.engine(|engine| engine.client.is_none()) {
            match Client::start(move |message| self.receive(message)) {
                Ok(client) => self.engine(|engine| engine.client = Some(client)),
                Err(error) => return self.fail(error),
            }
        }
        let id = self.next_id();
        self.engine(|engine| {
            engine.load_id = id;
            engine.model = Some(model.clone());
        });
        self.problem.set(None);
        self.info.set(None);
        self.progress.set(None);
        self.loading_name.set(model.name());
        self.phase.set(Phase::Loading);
        let options = LoadOptions::default();
        match &model {
            Model::Url(url) => self.post(ToWorker::Load { id, url: Some(url.clone()), options }, &[]),
            Model::Files(files) => self.post(ToWorker::Load { id, url: None, options }, files),
        }
    }

    /// Loads what was loaded, or should have been, once more.
    pub fn load_again(self) {
        if let Some(model) = self.engine(|engine| engine.model.clone()) {
            self.load(model);
        }
    }

    /// Gives up the load; ending the worker ends the download too.
    pub fn cancel_load(self) {
        self.engine(|engine| engine.client = None);
        self.progress.set(None);
        self.phase.set(Phase::Idle);
    }

    /// Back to the first screen, to choose another model; the conversation stays.
    pub fn leave_model(self) {
        self.stop();
        self.engine(|engine| {
            engine.client = None;
            engine.answer = None;
        });
        self.info.set(None);
        self.problem.set(None);
        self.phase.set(Phase::Idle);
    }

    pub fn send(self, text: String) {
        if self.phase.get_untracked() != Phase::Ready || text.trim().is_empty() {
            return;
        }
        let turn = self.turn(Role::User, text);
        self.turns.update(|turns| turns.push(turn));
        self.ask();
    }

    /// Answers the last message of the user once more.
    pub fn regenerate(self) {
        if self.phase.get_untracked() != Phase::Ready {
            return;
        }
        self.turns.update(|turns| {
            while turns.last().is_some_and(|turn| turn.role == Role::Assistant) {
                turns.pop();
            }
        });
        if self.turns.with_untracked(|turns| !turns.is_empty()) {
            self.ask();
        }
    }

    /// Stops the answer; what was written stays.
    pub fn stop(self) {
        if self.phase.get_untracked() == Phase::Answering {
            let id = self.engine(|engine| engine.chat_id);
            self.post(ToWorker::Abort { id }, &[]);
        }
    }

    pub fn new_chat(self) {
        self.stop();
        self.engine(|engine| {
            engine.answer = None;
            engine.chat_id = 0;
        });
        self.turns.update(Vec::clear);
        self.context_used.set(0);
        if self.phase.get_untracked() == Phase::Answering {
            self.phase.set(Phase::Ready);
        }
    }

    fn turn(self, role: Role, text: String) -> Turn {
        Turn {
            id: self.next_id(),
            role,
            text: ArcRwSignal::new(text),
            outcome: ArcRwSignal::new(Outcome::Open { tokens: 0, per_second: 0.0 }),
        }
    }

    /// Sends the conversation and opens a turn for its answer.
    fn ask(self) {
        let request = self.request();
        let turn = self.turn(Role::Assistant, String::new());
        let id = self.next_id();
        self.engine(|engine| {
            engine.chat_id = id;
            engine.answer = Some(Answer {
                turn: turn.clone(),
                pending: String::new(),
                most: request.max_tokens.unwrap_or(u32::MAX),
                tokens: 0,
                first_at: 0.0,
                last_at: 0.0,
                frame_asked: false,
            });
        });
        self.turns.update(|turns| turns.push(turn));
        self.phase.set(Phase::Answering);
        let request = serde_json::to_value(request).unwrap_or_default();
        self.post(ToWorker::Chat { id, request }, &[]);
    }

    fn request(self) -> ChatRequest {
        let settings = self.settings.get_untracked();
        let mut messages = Vec::new();
        if !settings.system.trim().is_empty() {
            messages.push(ChatMessage::new(Role::System, settings.system.trim()));
        }
        self.turns.with_untracked(|turns| {
            for turn in turns {
                let text = turn.text.get_untracked();
                if !text.is_empty() {
                    messages.push(ChatMessage::new(turn.role, text));
                }
            }
        });
        ChatRequest {
            messages,
            stream: true,
            stream_options: StreamOptions { include_usage: false },
            temperature: Some(settings.temperature),
            top_p: Some(settings.top_p),
            top_k: Some(settings.top_k),
            min_p: Some(settings.min_p),
            repetition_penalty: Some(settings.repetition_penalty),
            seed: settings.seed,
            max_tokens: Some(settings.max_tokens),
            truncation: Truncation::Auto,
            ..ChatRequest::default()
        }
    }

    fn receive(self, message: FromWorker) {
        let (load_id, chat_id) = self.engine(|engine| (engine.load_id, engine.chat_id));
        match message {
            FromWorker::Progress { id, phase, loaded, total, bytes_per_second } if id == load_id => {
                self.progress.set(Some(Progress { phase, loaded, total, bytes_per_second }));
            }
            FromWorker::Loaded { id, info } if id == load_id => {
                self.info.set(Some(info));
                self.progress.set(None);
                self.phase.set(Phase::Ready);
            }
            FromWorker::Chunk { id, chunk } if id == chat_id => self.append(&chunk),
            FromWorker::Done { id, reply } if id == chat_id => self.finish(&reply),
            FromWorker::Error { id: None, error } => self.fail(error),
            FromWorker::Error { id: Some(id), error } if id == load_id => self.fail(error),
            FromWorker::Error { id: Some(id), error } if id == chat_id => {
                self.close_answer(Outcome::Failed(error));
                self.phase.set(Phase::Ready);
            }
            _ => {}
        }
    }

    /// The load failed, or the engine is gone. The conversation stays.
    pub fn fail(self, error: ErrorBody) {
        self.close_answer(Outcome::Cut);
        self.engine(|engine| engine.client = None);
        self.progress.set(None);
        self.info.set(None);
        self.problem.set(Some(error));
        self.phase.set(Phase::Error);
    }

    fn append(self, chunk: &ChatChunk) {
        let Some(text) = chunk.choices.first().and_then(|choice| choice.delta.content.as_deref()) else { return };
        if text.is_empty() {
            return;
        }
        let ask_frame = self.engine(|engine| {
            let Some(answer) = &mut engine.answer else { return false };
            answer.pending.push_str(text);
            answer.tokens += 1;
            answer.last_at = now();
            if answer.tokens == 1 {
                answer.first_at = answer.last_at;
            }
            !std::mem::replace(&mut answer.frame_asked, true)
        });
        if ask_frame {
            request_animation_frame(move || self.flush());
        }
    }

    /// Shows what has come since the last frame.
    fn flush(self) {
        let news = self.engine(|engine| {
            let answer = engine.answer.as_mut()?;
            answer.frame_asked = false;
            let seconds = (answer.last_at - answer.first_at) / 1e3;
            let per_second = if seconds > 0.0 { f64::from(answer.tokens - 1) / seconds } else { 0.0 };
            Some((answer.turn.clone(), std::mem::take(&mut answer.pending), Outcome::Open { tokens: answer.tokens, per_second }))
        });
        if let Some((turn, text, outcome)) = news {
            turn.text.update(|all| all.push_str(&text));
            turn.outcome.set(outcome);
            self.beat.update(|beat| *beat = beat.wrapping_add(1));
        }
    }

    fn finish(self, reply: &ChatReply) {
        let finish = reply.choices.first().map_or(FinishReason::Stop, |choice| choice.finish_reason);
        let context = self.info.with_untracked(|info| info.as_ref().map_or(u32::MAX, |info| info.context));
        if let Some(answer) = self.engine(|engine| engine.answer.take()) {
            let timings = reply.timings;
            answer.turn.text.set(reply.text().to_owned());
            answer.turn.outcome.set(Outcome::Done {
                ending: format::ending(finish, &reply.usage, answer.most, context),
                dropped: reply.dropped_messages,
                tokens: reply.usage.completion_tokens,
                per_second: timings.predicted_per_second,
                first_token_ms: timings.prompt_ms,
            });
        }
        self.context_used.set(reply.usage.total_tokens);
        self.beat.update(|beat| *beat = beat.wrapping_add(1));
        self.phase.set(Phase::Ready);
    }

    fn close_answer(self, outcome: Outcome) {
        if let Some(answer) = self.engine(|engine| engine.answer.take()) {
            answer.turn.text.update(|all| all.push_str(&answer.pending));
            answer.turn.outcome.set(outcome);
            self.beat.update(|beat| *beat = beat.wrapping_add(1));
        }
    }
}
