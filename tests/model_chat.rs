//! Chat completions on a tiny random model: conversations that outgrow the context.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[allow(dead_code, reason = "only the GPU is wanted here")]
#[path = "common/gpu.rs"]
mod gpu;
#[allow(dead_code, reason = "only its type of weights is used here")]
#[path = "common/reference.rs"]
mod reference;
#[path = "common/tiny.rs"]
mod tiny;
#[path = "common/weights.rs"]
mod weights;

use kinglet::api;
use kinglet::api::types::{ChatMessage, ChatReply, ChatRequest, ReplyHead, Role, Truncation};
use kinglet::engine::{AbortSignal, Engine, Error, LoadOptions};
use kinglet::text::RenderOptions;
use kinglet::weights::source::MemorySource;
use pollster::block_on;
use tiny::Tiny;

const CONTEXT: u32 = 256;

fn engine() -> Engine {
    let (bytes, _) = Tiny { context: CONTEXT, ..Tiny::default() }.build(7);
    let mut source = MemorySource::new("tiny.gguf", bytes);
    block_on(Engine::load(gpu::open(), &mut source, LoadOptions::default(), &mut |_| {}, &AbortSignal::new())).unwrap()
}

fn ask(engine: &mut Engine, messages: &[ChatMessage], truncation: Truncation) -> Result<ChatReply, Error> {
    let (messages, temperature, max_tokens) = (messages.to_vec(), Some(0.0), Some(8));
    let request = ChatRequest { messages, truncation, temperature, max_tokens, ignore_eos: true, ..ChatRequest::default() };
    let head = ReplyHead { id: "chatcmpl-1".into(), created: 0, model: "tiny".into() };
    let abort = AbortSignal::new();
    block_on(api::chat(engine, &request, &head, 1, &RenderOptions::default(), &mut |_| {}, &abort))
}

fn user(text: &str) -> ChatMessage {
    ChatMessage::new(Role::User, text)
}

#[test]
fn a_conversation_goes_on_without_its_oldest_turns() {
    let mut engine = engine();
    let mut messages = vec![ChatMessage::new(Role::System, "Be brief.")];
    let mut dropped = Vec::new();
    for turn in 0..12 {
        messages.push(user(&format!("Tell me more about the weather in mountain number {turn}.")));
        let reply = ask(&mut engine, &messages, Truncation::Auto).unwrap();
        let details = reply.usage.prompt_tokens_details;
        assert!(reply.usage.prompt_tokens + 8 <= CONTEXT && reply.usage.completion_tokens == 8, "{:?}", reply.usage);
        assert_eq!(details.dropped_messages % 2, 0, "questions go with their answers");
        // What stays is read again only when more is left out.
        let reads_again = dropped.last() != Some(&details.dropped_messages);
        assert_eq!(details.cached_tokens < reply.usage.prompt_tokens / 2, reads_again, "turn {turn}: {:?}", reply.usage);
        dropped.push(details.dropped_messages);

        // It is as if they had never been there.
        let kept: Vec<ChatMessage> =
            messages[..1].iter().chain(&messages[1 + details.dropped_messages as usize..]).cloned().collect();
        let alone = ask(&mut engine, &kept, Truncation::Disabled).unwrap();
        assert_eq!((alone.text(), alone.usage.prompt_tokens), (reply.text(), reply.usage.prompt_tokens));
        messages.push(reply.choices[0].message.clone());
    }
    dropped.dedup();
    assert!(dropped.len() > 2, "{dropped:?}");
    assert!(dropped.is_sorted(), "{dropped:?}");

    let error = ask(&mut engine, &messages, Truncation::Disabled).unwrap_err();
    assert!(matches!(error, Error::ContextExceeded { context: CONTEXT, .. }), "{error}");
}

#[test]
fn a_last_message_that_is_too_long_is_an_error_whatever_goes() {
    let mut engine = engine();
    let long = "word ".repeat(CONTEXT as usize);
    let messages = [user("Hello."), ChatMessage::new(Role::Assistant, "Hi."), user(&long)];
    for truncation in [Truncation::Auto, Truncation::Disabled] {
        let error = ask(&mut engine, &messages, truncation).unwrap_err();
        assert!(matches!(error, Error::ContextExceeded { context: CONTEXT, .. }), "{error}");
    }
    assert!(ask(&mut engine, &messages[..1], Truncation::Auto).is_ok());
}
