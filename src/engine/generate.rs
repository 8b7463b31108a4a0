//! The generate loop: prefill in chunks, then decode several steps ahead of what has been read back.

use super::{AbortSignal, Engine, Error};
use crate::gpu::{GpuError, Pending};
use crate::model::Model;
use crate::sampling::SamplingParams;
use crate::text::{Detokenizer, StopStrings};
use std::collections::VecDeque;
use web_time::Instant;

/// What an answer is asked for with.
#[derive(Debug, Clone)]
pub struct GenerateParams {
    /// Most tokens of the answer; unless given, as many as the context has room for.
    pub max_tokens: Option<u32>,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// Texts that end the answer and are not part of it.
    pub stop: Vec<String>,
    /// Go on after end-of-generation tokens.
    pub ignore_eos: bool,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop text appeared.
    Stop,
    /// `max_tokens` or the context's end was reached, or the device had no room for more of the KV cache.
    Length,
    /// The caller aborted it.
    Abort,
}

impl FinishReason {
    /// OpenAI's word for it (`abort` is not among OpenAI's).
    pub fn name(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::Abort => "abort",
        }
    }
}

/// Where an answer's time went, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timings {
    /// From the call to the end of prefill, which is the first token's arrival.
    pub prefill_s: f64,
    /// From there to the last token.
    pub decode_s: f64,
    /// From the call to the first token's arrival.
    pub ttft_s: f64,
    /// Prompt tokens that prefill ran, per second.
    pub prefill_tok_s: f64,
    /// Tokens after the first, per second.
    pub decode_tok_s: f64,
}

/// A finished answer.
#[derive(Debug, Clone)]
pub struct Generation {
    /// The answer's ids, with the end-of-generation token that closed it, if one did.
    pub ids: Vec<u32>,
    /// The answer's text, without what belongs to stop texts or special tokens.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Where the time went.
    pub timings: Timings,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, tokens whose keys and values were in the cache already.
    pub cached_tokens: usize,
}

/// Turns ids into deltas and knows when the answer is over.
struct Output<'a> {
    detokenizer: Detokenizer<'a>,
    stops: StopStrings,
    text: String,
    ids: Vec<u32>,
}

impl Output<'_> {
    /// Takes one id; `true` when a stop text ended the answer.
    fn push(&mut self, id: u32, on_token: &mut dyn FnMut(&str, u32)) -> bool {
        self.ids.push(id);
        let piece = self.detokenizer.push(id);
        let outcome = self.stops.push(&piece);
        self.text.push_str(&outcome.emit);
        on_token(&outcome.emit, id);
        outcome.stopped.is_some()
    }

    /// Lets go of what was held back.
    fn finish(&mut self, stopped: bool, on_token: &mut dyn FnMut(&str, u32)) {
        if stopped {
            return;
        }
        let mut rest = self.stops.push(&self.detokenizer.finish()).emit;
        rest.push_str(&self.stops.finish());
        if let (false, Some(&last)) = (rest.is_empty(), self.ids.last()) {
            self.text.push_str(&rest);
            on_token(&rest, last);
        }
    }
}

/// Steps on their way, and how many may still be sent.
struct Ahead {
    pending: VecDeque<Pending>,
    /// Position that the next step writes its keys and values to.
    position: u32,
    /// Tokens that may still be drawn.
    left: u32,
}

impl Ahead {
    /// Everything sent is done: the device waits for us, because we hear of its results too late.
    fn ran_dry(&self) -> bool {
        !self.pending.is_empty() && self.pending.iter().all(Pending::is_done)
    }

    async fn fill(&mut self, model: &mut Model) -> Result<(), GpuError> {
        while self.left > 0 && self.pending.len() < model.tokens_in_flight() {
            match model.reserve(self.position + 1).await {
                // The answer ends with what is on its way: what was said so far is kept.
                Err(GpuError::OutOfMemory { .. }) => self.left = 0,
                reserved => {
                    reserved?;
                    self.pending.push_back(model.decode(self.position));
                    self.position += 1;
                    self.left -= 1;
                }
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Goes on with a prompt of token ids. `on_token` gets every drawn id with the text that it made certain (often empty or several words' worth
    /// when a stop text was half seen). An abort is noticed within one step and is not an error: the answer so far comes back with
    /// [`FinishReason::Abort`].
    ///
    /// # Errors
    /// A prompt that is empty, too long or outside the vocabulary; parameters out of range; a device that failed, or has no room for the prompt.
    pub async fn generate(
        &mut self,
        prompt: &[u32],
        params: &GenerateParams,
        on_token: &mut dyn FnMut(&str, u32),
        abort: &AbortSignal,
    ) -> Result<Generation, Error> {
        self.run(prompt, params, false, on_token, abort).await
    }

    /// As [`Engine::generate`], but what is generated is a text of its own, as the answer in a chat is: it does not begin with the space
    /// that SentencePiece's first tokens of a text have.
    ///
    /// # Errors
    /// As [`Engine::generate`].
    pub async fn answer(
        &mut self,
        prompt: &[u32],
        params: &GenerateParams,
        on_token: &mut dyn FnMut(&str, u32),
        abort: &AbortSignal,
    ) -> Result<Generation, Error> {
        self.run(prompt, params, true, on_token, abort).await
    }

    async fn run(
        &mut self,
        prompt: &[u32],
        params: &GenerateParams,
        own_text: bool,
        on_token: &mut dyn FnMut(&str, u32),
        abort: &AbortSignal,
    ) -> Result<Generation, Error> {
        self.check_prompt(prompt)?;
        params.sampling.validate()?;
        let context = self.context();
        if prompt.len() >= context as usize {
            return Err(Error::ContextExceeded { prompt: prompt.len(), context });
        }
        let room = context - prompt.len() as u32;
        let most = params.max_tokens.map_or(room, |most| most.clamp(1, room));
        let started = Instant::now();

        // Before anything runs or is forgotten, so that a prompt that has no room costs nothing.
        self.model.reserve(prompt.len() as u32).await?;
        // At least the last token of the prompt has to run again: its logits choose the first token.
        let cached_tokens = self.cached.iter().zip(prompt).take(prompt.len() - 1).take_while(|(a, b)| a == b).count();
        let cached_tokens = self.model.kept(cached_tokens);
        self.cached.truncate(cached_tokens);
        self.model.begin(&params.sampling, prompt);
        let first = self.prefill(prompt, cached_tokens, abort).await?;

        let begin = if own_text { Detokenizer::new } else { Detokenizer::continuing };
        let mut output = Output {
            detokenizer: begin(&self.tokenizer),
            stops: StopStrings::new(params.stop.clone()),
            text: String::new(),
            ids: Vec::new(),
        };
        let mut ahead = Ahead { pending: first.into_iter().collect(), position: prompt.len() as u32, left: most - 1 };
        let mut finish_reason = if ahead.pending.is_empty() { FinishReason::Abort } else { FinishReason::Length };
        let mut prefill_s = started.elapsed().as_secs_f64();
        let mut stopped = false;
        let mut failure = None;
        loop {
            if !ahead.pending.is_empty()
                && let Err(error) = ahead.fill(&mut self.model).await
            {
                failure = Some(Error::from(error));
                break;
            }
            let Some(pending) = ahead.pending.pop_front() else { break };
            let id = match self.model.token(pending).await {
                Ok(id) => id,
                Err(error) => {
                    failure = Some(Error::from(error));
                    break;
                }
            };
            if ahead.ran_dry() && ahead.left > 0 {
                self.model.deepen();
            }
            if output.ids.is_empty() {
                prefill_s = started.elapsed().as_secs_f64();
            } else {
                // The step that drew this id has written the previous one's keys and values.
                self.cached.extend(output.ids.last());
            }
            if !params.ignore_eos && self.tokenizer.is_eog(id) {
                output.ids.push(id);
                on_token("", id);
                finish_reason = FinishReason::Stop;
                break;
            }
            stopped = output.push(id, on_token);
            if stopped {
                finish_reason = FinishReason::Stop;
                break;
            }
            if abort.is_aborted() {
                finish_reason = FinishReason::Abort;
                break;
            }
        }
        // Steps sent too far are let run out; what they wrote lies beyond the cached ids and will be written over.
        for pending in ahead.pending.drain(..) {
            let _ = self.model.token(pending).await;
        }
        if let Some(error) = failure {
            return Err(error);
        }
        output.finish(stopped, on_token);
        let total = started.elapsed().as_secs_f64();
        let ran = (prompt.len() - cached_tokens) as f64;
        let drawn = output.ids.len().saturating_sub(1) as f64;
        let decode_s = total - prefill_s;
        let rate = |count: f64, seconds: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        Ok(Generation {
            ids: output.ids,
            text: output.text,
            finish_reason,
            timings: Timings {
                prefill_s,
                decode_s,
                ttft_s: prefill_s,
                prefill_tok_s: rate(ran, prefill_s),
                decode_tok_s: rate(drawn, decode_s),
            },
            prompt_tokens: prompt.len(),
            cached_tokens,
        })
    }

    /// Runs the prompt from `from` on and starts drawing the first token; `None` if it was aborted.
    async fn prefill(&mut self, prompt: &[u32], from: usize, abort: &AbortSignal) -> Result<Option<Pending>, Error> {
        let mut position = from;
        loop {
            if abort.is_aborted() {
                return Ok(None);
            }
            let rest = &prompt[position..];
            let chunk = &rest[..rest.len().min(self.model.chunk_at(position as u32))];
            let last = chunk.len() == rest.len();
            if last {
                let pending = self.model.prefill_and_draw(chunk, position as u32);
                self.cached.extend_from_slice(chunk);
                return Ok(Some(pending));
            }
            self.model.prefill(chunk, position as u32);
            self.gpu.idle().await?;
            self.cached.extend_from_slice(chunk);
            position += chunk.len();
        }
    }
}
