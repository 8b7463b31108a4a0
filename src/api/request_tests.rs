use super::*;
use serde_json::json;

fn parse(value: Value) -> Result<ChatRequest, RequestError> {
    ChatRequest::try_from(value)
}

fn with(field: &str, value: Value) -> Result<ChatRequest, RequestError> {
    let mut request = json!({"messages": [{"role": "user", "content": "hi"}]});
    request[field] = value;
    parse(request)
}

#[test]
fn a_full_request_is_read() {
    let request = parse(json!({
        "model": "smollm2", "stream": true, "stream_options": {"include_usage": true},
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "gravity?"}], "name": "ada"},
            {"role": "assistant", "content": null},
        ],
        "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1,
        "seed": 42, "stop": ["\n\n", "END"], "max_tokens": 64, "ignore_eos": true, "truncation": "auto",
        "user": "someone", "metadata": {"any": "thing"}, "n": 1, "tools": [], "response_format": {"type": "text"},
    }))
    .unwrap();
    assert_eq!(request.model.as_deref(), Some("smollm2"));
    assert!(request.stream && request.stream_options.include_usage && request.ignore_eos);
    assert_eq!(request.messages[0], ChatMessage::new(Role::System, "Be brief."));
    assert_eq!(request.messages[1], ChatMessage::new(Role::User, "What is gravity?"));
    assert_eq!(request.messages[2], ChatMessage::new(Role::Assistant, ""));
    assert_eq!((request.temperature, request.top_p, request.min_p), (Some(0.7), Some(0.9), Some(0.05)));
    assert_eq!((request.top_k, request.seed, request.max_tokens), (Some(40), Some(42), Some(64)));
    assert_eq!(request.repetition_penalty, Some(1.1));
    assert_eq!(request.stop, ["\n\n", "END"]);
    assert_eq!(request.truncation, Truncation::Auto);
}

#[test]
fn absent_and_null_fields_mean_the_defaults() {
    let plain = with("temperature", Value::Null).unwrap();
    assert_eq!(plain, ChatRequest { messages: vec![ChatMessage::new(Role::User, "hi")], ..ChatRequest::default() });
}

#[test]
fn a_request_survives_its_own_json() {
    let request = with("stop", json!("END")).unwrap();
    let text = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<ChatRequest>(&text).unwrap(), request);
}

#[test]
fn numbers_may_be_written_as_floats() {
    assert_eq!(with("max_tokens", json!(5.0)).unwrap().max_tokens, Some(5));
    assert_eq!(with("seed", json!(7.0)).unwrap().seed, Some(7));
    assert_eq!(with("seed", json!(-1)).unwrap().seed, Some(u64::MAX));
    assert_eq!(with("temperature", json!(1)).unwrap().temperature, Some(1.0));
}

#[test]
fn max_completion_tokens_wins_and_aliases_are_read() {
    let mut request = json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "max_completion_tokens": 9});
    assert_eq!(parse(request.clone()).unwrap().max_tokens, Some(9));
    request["max_completion_tokens"] = Value::Null;
    assert_eq!(parse(request).unwrap().max_tokens, Some(5));
    assert_eq!(with("repeat_penalty", json!(1.2)).unwrap().repetition_penalty, Some(1.2));
    assert_eq!(with("stop", json!("x")).unwrap().stop, ["x"]);
}

#[test]
fn every_wrong_value_names_its_field() {
    for (field, value) in [
        ("temperature", json!("hot")),
        ("temperature", json!(-0.1)),
        ("temperature", json!(2.5)),
        ("top_p", json!(1.5)),
        ("top_p", json!([0.5])),
        ("top_k", json!(-1)),
        ("top_k", json!(1.5)),
        ("min_p", json!(7)),
        ("repetition_penalty", json!(0)),
        ("seed", json!("x")),
        ("seed", json!(0.5)),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(1e300)),
        ("max_completion_tokens", json!(-4)),
        ("stream", json!("yes")),
        ("stream_options", json!(true)),
        ("stop", json!(3)),
        ("stop", json!("")),
        ("truncation", json!("middle")),
        ("truncation", json!(true)),
        ("messages", json!("hi")),
        ("messages", json!([])),
        ("messages", Value::Null),
        ("model", json!(1)),
        ("n", json!(2)),
        ("tools", json!([{"type": "function"}])),
        ("response_format", json!({"type": "json_object"})),
        ("frequency_penalty", json!(0.5)),
        ("logprobs", json!(true)),
    ] {
        let error = with(field, value.clone()).unwrap_err();
        assert_eq!(error.field(), field, "{value}");
        assert!(error.to_string().contains(&format!("`{field}`")), "{error}");
    }
    assert_eq!(parse(json!([])).unwrap_err(), RequestError::NotAnObject { found: "an array" });
}

#[test]
fn nested_fields_are_named_by_their_path() {
    for (messages, path) in [
        (json!(["hi"]), "messages[0]"),
        (json!([{"content": "hi"}]), "messages[0].role"),
        (json!([{"role": "user", "content": "a"}, {"role": "robot", "content": "b"}]), "messages[1].role"),
        (json!([{"role": "user"}]), "messages[0].content"),
        (json!([{"role": "user", "content": 5}]), "messages[0].content"),
        (json!([{"role": "user", "content": [{"type": "image_url"}]}]), "messages[0].content[0].type"),
        (json!([{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text"),
        (json!([{"role": "user", "content": ["hi"]}]), "messages[0].content[0]"),
    ] {
        assert_eq!(with("messages", messages).unwrap_err().field(), path);
    }
    assert_eq!(with("stop", json!(["a", ""])).unwrap_err().field(), "stop[1]");
    assert_eq!(with("stream_options", json!({"include_usage": 1})).unwrap_err().field(), "stream_options.include_usage");
}

#[test]
fn a_long_wrong_value_is_cut_in_the_message() {
    let error = with("stop", json!(vec!["x".repeat(500); 20])).unwrap_err();
    assert!(error.to_string().len() < 300, "{error}");
}
