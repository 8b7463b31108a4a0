use super::*;
use serde_json::json;

fn head() -> ReplyHead {
    ReplyHead { id: "chatcmpl-1".into(), created: 1_700_000_000, model: "m".into() }
}

#[test]
fn replies_have_openais_shape() {
    let usage = Usage::new(10, 4, 6);
    let reply = ChatReply::new(&head(), "Hi.".into(), FinishReason::Stop, usage, Timings::new(4, 0.5, 4, 0.25, 6), 2);
    assert_eq!(
        serde_json::to_value(&reply).unwrap(),
        json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop", "logprobs": null}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 6}},
            "timings": {"prompt_n": 4, "prompt_ms": 500.0, "prompt_per_second": 8.0,
                        "predicted_n": 4, "predicted_ms": 250.0, "predicted_per_second": 16.0, "cache_n": 6},
            "dropped_messages": 2,
        })
    );
    assert_eq!(reply.text(), "Hi.");
    assert_eq!(Timings::new(0, 0.0, 0, 0.0, 0).predicted_per_second, 0.0);
}

#[test]
fn chunks_have_openais_shape() {
    let choice = |chunk: &ChatChunk| serde_json::to_value(chunk).unwrap()["choices"][0].clone();
    assert_eq!(
        choice(&ChatChunk::role(&head())),
        json!({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null, "logprobs": null})
    );
    assert_eq!(choice(&ChatChunk::text(&head(), "Hi"))["delta"], json!({"content": "Hi"}));
    let last = ChatChunk::finish(&head(), FinishReason::Length, Timings::default(), 3);
    assert_eq!(serde_json::to_value(&last).unwrap()["dropped_messages"], 3);
    assert_eq!(choice(&last)["finish_reason"], "length");
    assert_eq!(choice(&last)["delta"], json!({}));
    let usage = serde_json::to_value(ChatChunk::usage(&head(), Usage::new(1, 2, 0))).unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["total_tokens"], 3);
    assert_eq!(usage["object"], "chat.completion.chunk");
}
