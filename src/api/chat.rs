//! A chat completion, from request to reply.

use super::fit::{AnswerEvent, FittedChat, answer_chat};
use super::request::ChatRequest;
use super::types::{ChatChunk, ChatReply, FinishReason, ReplyHead, Timings, Usage};
use crate::engine::{self, AbortSignal, Engine, Error, GenerateParams};
use crate::sampling::SamplingParams;
use crate::text::{Message, RenderOptions};

/// Answers `request`. `seed` serves where the request has none. Every chunk goes to `on_chunk` as soon as its text is certain; the reply is
/// the whole. An aborted answer is a reply too, with the finish reason `abort`.
///
/// # Errors
/// Whatever is wrong with the request's messages or parameters, or with the device.
pub async fn chat(
    engine: &mut Engine,
    request: &ChatRequest,
    head: &ReplyHead,
    seed: u64,
    options: &RenderOptions,
    on_chunk: &mut dyn FnMut(ChatChunk),
    abort: &AbortSignal,
) -> Result<ChatReply, Error> {
    let messages: Vec<Message> =
        request.messages.iter().map(|message| Message::new(message.role.as_str(), message.content.clone())).collect();
    let defaults = SamplingParams::default();
    let params = GenerateParams {
        max_tokens: request.max_tokens,
        sampling: SamplingParams {
            temperature: request.temperature.unwrap_or(defaults.temperature),
            top_k: request.top_k.unwrap_or(defaults.top_k),
            top_p: request.top_p.unwrap_or(defaults.top_p),
            min_p: request.min_p.unwrap_or(defaults.min_p),
            repeat_penalty: request.repetition_penalty.unwrap_or(defaults.repeat_penalty),
            seed: request.seed.unwrap_or(seed),
        },
        stop: request.stop.clone(),
        ignore_eos: request.ignore_eos,
    };
    let mut opened = false;
    let mut tell = |event: AnswerEvent<'_>| match event {
        AnswerEvent::Prompt(_) if !std::mem::replace(&mut opened, true) => on_chunk(ChatChunk::role(head)),
        AnswerEvent::Text(text) if !text.is_empty() => on_chunk(ChatChunk::text(head, text)),
        _ => {}
    };
    let (answer, FittedChat { dropped, .. }) =
        answer_chat(engine, &messages, options, request.truncation, &params, &mut tell, abort).await?;
    let dropped = dropped as u32;
    let reason = match answer.finish_reason {
        engine::FinishReason::Stop => FinishReason::Stop,
        engine::FinishReason::Length => FinishReason::Length,
        engine::FinishReason::Abort => FinishReason::Abort,
    };
    let [prompt_tokens, drawn, cached] = [answer.prompt_tokens, answer.ids.len(), answer.cached_tokens].map(|n| n as u32);
    let usage = Usage::new(prompt_tokens, drawn, cached);
    let timings =
        Timings::new(prompt_tokens - cached, answer.timings.prefill_s, drawn.saturating_sub(1), answer.timings.decode_s, cached);
    on_chunk(ChatChunk::finish(head, reason, timings, dropped));
    if request.stream_options.include_usage {
        on_chunk(ChatChunk::usage(head, usage));
    }
    Ok(ChatReply::new(head, answer.text, reason, usage, timings, dropped))
}
