//! Chat completions on a tiny random model: conversations that outgrow the context.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
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
use kinglet::api::types::{ChatChunk, ChatMessage, ChatReply, ChatRequest, ReplyHead, Role, Truncation};
use kinglet::engine::{AbortSignal, Engine, Error, LoadOptions};
use kinglet::gpu::{Gpu, GpuError, GpuOptions};
use kinglet::kernels::Format;
use kinglet::text::RenderOptions;
use kinglet::weights::source::MemorySource;
use pollster::block_on;
use tiny::Tiny;

const CONTEXT: u32 = 256;

fn load(gpu: Gpu, context: u32) -> Engine {
    let (bytes, _) = Tiny { context, formats: [Format::Q4_0; 3], ..Tiny::default() }.build(7);
    let mut source = MemorySource::new("tiny.gguf", bytes);
    block_on(Engine::load(gpu, &mut source, LoadOptions::default(), &mut |_| {}, &AbortSignal::new())).unwrap()
}

/// The chunks too.
fn stream(engine: &mut Engine, messages: &[ChatMessage], truncation: Truncation) -> (Result<ChatReply, Error>, Vec<ChatChunk>) {
    let (messages, temperature, max_tokens) = (messages.to_vec(), Some(0.0), Some(8));
    let request = ChatRequest { messages, truncation, temperature, max_tokens, ignore_eos: true, ..ChatRequest::default() };
    let head = ReplyHead { id: "chatcmpl-1".into(), created: 0, model: "tiny".into() };
    let (abort, mut chunks) = (AbortSignal::new(), Vec::new());
    let mut on_chunk = |chunk| chunks.push(chunk);
    let reply = block_on(api::chat(engine, &request, &head, 1, &RenderOptions::default(), &mut on_chunk, &abort));
    (reply, chunks)
}

fn ask(engine: &mut Engine, messages: &[ChatMessage], truncation: Truncation) -> Result<ChatReply, Error> {
    stream(engine, messages, truncation).0
}

fn user(text: &str) -> ChatMessage {
    ChatMessage::new(Role::User, text)
}

fn assistant(text: &str) -> ChatMessage {
    ChatMessage::new(Role::Assistant, text)
}

#[test]
fn a_conversation_goes_on_without_its_oldest_turns() {
    let mut engine = load(gpu::open(), CONTEXT);
    let mut messages = vec![ChatMessage::new(Role::System, "Be brief.")];
    let mut dropped = Vec::new();
    for turn in 0..12 {
        messages.push(user(&format!("Tell me more about the weather in mountain number {turn}.")));
        let reply = ask(&mut engine, &messages, Truncation::Auto).unwrap();
        let (forgotten, cached) = (reply.dropped_messages, reply.usage.prompt_tokens_details.cached_tokens);
        assert!(reply.usage.prompt_tokens + 8 <= CONTEXT && reply.usage.completion_tokens == 8, "{:?}", reply.usage);
        assert_eq!(forgotten % 2, 0, "questions go with their answers");
        // What stays is read again only when more is left out.
        let reads_again = dropped.last() != Some(&forgotten);
        assert_eq!(cached < reply.usage.prompt_tokens / 2, reads_again, "turn {turn}: {:?}", reply.usage);
        dropped.push(forgotten);

        // It is as if they had never been there.
        let kept = [&messages[..1], &messages[1 + forgotten as usize..]].concat();
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
fn a_last_message_that_is_too_long_is_an_error_before_any_chunk() {
    let mut engine = load(gpu::open(), CONTEXT);
    let messages = [user("Hello."), assistant("Hi."), user(&"word ".repeat(CONTEXT as usize))];
    for truncation in [Truncation::Auto, Truncation::Disabled] {
        let (reply, chunks) = stream(&mut engine, &messages, truncation);
        assert!(matches!(reply, Err(Error::ContextExceeded { context: CONTEXT, .. })), "{reply:?}");
        assert!(chunks.is_empty(), "{chunks:?}");
    }
    assert!(ask(&mut engine, &messages[..1], Truncation::Auto).is_ok());
}

/// A device that has no room for a second segment of the KV cache, and later has it.
#[test]
fn lack_of_memory_shortens_a_conversation_while_it_lasts() {
    const SEGMENT: u32 = 256;
    let limit = 64 << 20;
    let plain = load(gpu::open(), 4 * SEGMENT);
    let config = plain.config();
    let binding_bytes = Some(plain.model().kv_type().bytes(SEGMENT + 44, config.kv_heads, config.head_dim));
    let options = GpuOptions { binding_bytes, memory_bytes: Some(limit), ..GpuOptions::default() };
    let gpu = block_on(Gpu::open(options)).unwrap();
    let mut engine = load(gpu.clone(), 4 * SEGMENT);
    assert_eq!(engine.model().reserved(), SEGMENT);
    let left = engine.model().kv_bytes() / 2;
    let filler = gpu.buffer("filler", limit - gpu.memory().current - left).unwrap();

    let mut messages = Vec::new();
    for turn in 0..6 {
        messages.push(user(&format!("Tell me more about the weather in mountain number {turn}.")));
        messages.push(assistant("It is mild."));
    }
    messages.push(user("And in the valley?"));
    for _ in 0..2 {
        let (reply, chunks) = stream(&mut engine, &messages, Truncation::Auto);
        let reply = reply.unwrap();
        assert!(reply.dropped_messages > 0 && reply.usage.total_tokens <= SEGMENT, "{:?}", reply.usage);
        let deltas: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.choices).map(|choice| &choice.delta).collect();
        assert_eq!(deltas.iter().filter(|delta| delta.role.is_some()).count(), 1, "one beginning");
        let text: String = deltas.iter().filter_map(|delta| delta.content.as_deref()).collect();
        assert_eq!(text, reply.text());
        assert_eq!(chunks.last().unwrap().dropped_messages, Some(reply.dropped_messages));
    }
    let long = [user(&"word ".repeat(80))];
    for (messages, truncation) in [(&long[..], Truncation::Auto), (&long, Truncation::Disabled), (&messages, Truncation::Disabled)]
    {
        let error = ask(&mut engine, messages, truncation).unwrap_err();
        assert!(matches!(error, Error::Gpu(GpuError::OutOfMemory { .. })), "{error}");
    }

    drop(filler);
    let reply = ask(&mut engine, &messages, Truncation::Auto).unwrap();
    assert_eq!(reply.dropped_messages, 0, "the device is asked again");
}
