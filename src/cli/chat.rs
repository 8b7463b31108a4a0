//! `kinglet chat`: a conversation in the terminal, or through a pipe with one message a line.

use super::args::{AnswerArgs, ChatArgs};
use super::conversation::{self, Conversation};
use super::exit::Failure;
use super::generate::summary;
use super::input::{Input, Line};
use super::interrupt::Interrupt;
use super::model::{Loaded, ModelFile};
use super::output::{self, Stream, note};
use kinglet::api::AnswerEvent;
use kinglet::engine::{FinishReason, Generation};

const HELP: &str = "\
/help         this list
/clear        forget the conversation (the system message stays)
/system TEXT  tell the model how to behave; without TEXT, take that back
/stats        tokens, speed and memory so far
/exit         end, as does Ctrl-D
Ctrl-C stops an answer. What the model has read stays in its memory, so later turns begin quickly.";

/// Talks until the input ends.
pub fn run(args: &ChatArgs) -> Result<(), Failure> {
    args.answer.params().sampling.validate()?;
    let loaded = ModelFile::open(&args.model)?.load(&args.device, args.answer.ctx)?;
    let interrupt = Interrupt::install()?;
    let mut input = Input::new()?;
    let mut chat = Chat {
        loaded,
        args: &args.answer,
        interrupt,
        conversation: Conversation::new(args.system.clone()),
        last: None,
        terminal: input.is_terminal(),
    };
    if chat.terminal {
        chat.greet();
    }
    loop {
        match input.next()? {
            Line::End => return Ok(()),
            Line::Interrupted => note(format_args!("/exit or Ctrl-D ends the chat.")),
            Line::Text(text) if text.is_empty() => {}
            Line::Text(text) => match text.strip_prefix('/') {
                Some(command) => {
                    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
                    if matches!(name, "exit" | "quit") {
                        return Ok(());
                    }
                    chat.command(name, rest.trim());
                }
                None => chat.answer(text)?,
            },
        }
    }
}

struct Chat<'a> {
    loaded: Loaded,
    args: &'a AnswerArgs,
    interrupt: Interrupt,
    conversation: Conversation,
    last: Option<Generation>,
    terminal: bool,
}

impl Chat<'_> {
    fn greet(&self) {
        let Loaded { engine, model, .. } = &self.loaded;
        let (adapter, tier, context) = (self.loaded.adapter(), self.loaded.tier(), engine.context());
        note(format_args!("{model} on {adapter} (tier {tier}), context {context} tokens. /help lists commands."));
    }

    fn command(&mut self, name: &str, rest: &str) {
        match name {
            "help" | "?" => note(format_args!("{HELP}")),
            "clear" => {
                self.conversation.clear();
                note(format_args!("The conversation is forgotten."));
            }
            "system" if rest.is_empty() => {
                self.conversation.system = None;
                note(format_args!("There is no system message any more."));
            }
            "system" => {
                self.conversation.system = Some(rest.to_owned());
                note(format_args!("The system message is changed; the conversation goes on with it."));
            }
            "stats" => self.stats(),
            _ => note(format_args!("There is no command /{name}; /help lists those that are.")),
        }
    }

    fn stats(&self) {
        let engine = &self.loaded.engine;
        if let Some(last) = &self.last {
            let timings = last.timings;
            note(format_args!(
                "Last turn: {} prompt tokens ({} of them remembered), {} answer tokens.\n\
                 Prefill {:.1} tok/s, first token after {:.2} s, decode {:.1} tok/s.",
                last.prompt_tokens,
                last.cached_tokens,
                last.ids.len(),
                timings.prefill_tok_s,
                timings.ttft_s,
                timings.decode_tok_s,
            ));
        }
        let used = self.last.as_ref().map_or(0, |last| last.prompt_tokens + last.ids.len());
        let memory = engine.gpu().memory();
        note(format_args!(
            "{} turns; {used} of {} context tokens used; {} of GPU memory in use, {} at most; loaded in {:.1} s.",
            self.conversation.len(),
            engine.context(),
            output::bytes(memory.current),
            output::bytes(memory.peak),
            self.loaded.load_s,
        ));
    }

    /// Answers a message. What is only wrong with the message is told, and the chat goes on if somebody is there to read it.
    fn answer(&mut self, user: String) -> Result<(), Failure> {
        let outcome = self.try_answer(user);
        self.interrupt.disarm();
        match outcome {
            Err(failure) if self.terminal && failure.is_harmless() => {
                failure.tell();
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn try_answer(&mut self, user: String) -> Result<(), Failure> {
        let abort = self.interrupt.arm();
        let engine = &mut self.loaded.engine;
        let context = engine.context();
        let mut stream = Stream::new(&abort);
        let mut tell = |event: AnswerEvent<'_>| match event {
            AnswerEvent::Prompt(fitted) if fitted.dropped > 0 => {
                let (limit, dropped) = (conversation::limit(fitted.room, context), conversation::turns(fitted));
                let turns = if dropped == 1 { "turn was" } else { "turns were" };
                note(format_args!("[The oldest {dropped} {turns} dropped: {limit}.]"));
            }
            AnswerEvent::Prompt(_) => {}
            AnswerEvent::Text(text) => stream.push(text),
        };
        let generation = self.conversation.answer(engine, user, &self.args.params(), &mut tell, &abort)?;
        stream.finish()?;
        output::line(format_args!(""))?;
        match generation.finish_reason {
            FinishReason::Abort => note(format_args!("[stopped]")),
            FinishReason::Length => {
                if let Some(full) = conversation::full(engine, &generation) {
                    note(format_args!("[The answer ends here because {full}.]"));
                }
            }
            FinishReason::Stop => {}
        }
        if self.terminal {
            note(format_args!("{}", summary(&generation)));
        }
        self.last = Some(generation);
        Ok(())
    }
}
