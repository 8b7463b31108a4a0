//! A chat completion request: read from JSON with every value checked, so that an error can name the field.
//!
//! Field names are OpenAI's; `top_k`, `min_p` and `repetition_penalty` follow vLLM and llama-server.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::types::{ChatMessage, Role};

/// Why a request cannot be answered. Every variant names the field as a path, like `messages[2].content`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// The request is not a JSON object at all.
    #[error("the request must be a JSON object, not {found}")]
    NotAnObject {
        /// What was there instead.
        found: &'static str,
    },
    /// A field that is needed is absent or null.
    #[error("`{field}` is missing: {expected} is needed")]
    Missing {
        /// Path of the field.
        field: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// A field has the wrong JSON type.
    #[error("`{field}` must be {expected}, not {found}")]
    WrongType {
        /// Path of the field.
        field: String,
        /// What belongs there.
        expected: &'static str,
        /// What was there instead.
        found: &'static str,
    },
    /// A value of the right type outside what is allowed.
    #[error("`{field}` must be {expected}, not {value}")]
    OutOfRange {
        /// Path of the field.
        field: String,
        /// What is allowed.
        expected: &'static str,
        /// The offending value as JSON.
        value: String,
    },
    /// A field that is known, would change the answer, and is not implemented: ignoring it would be silent.
    #[error("`{field}` is not supported: {hint}")]
    Unsupported {
        /// Path of the field.
        field: String,
        /// What to do instead.
        hint: &'static str,
    },
}

impl RequestError {
    /// Path of the field at fault; empty when the whole request is.
    pub fn field(&self) -> &str {
        match self {
            Self::NotAnObject { .. } => "",
            Self::Missing { field, .. }
            | Self::WrongType { field, .. }
            | Self::OutOfRange { field, .. }
            | Self::Unsupported { field, .. } => field,
        }
    }
}

/// What a stream carries besides its deltas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOptions {
    /// Send one more chunk with no choices and the usage.
    #[serde(default)]
    pub include_usage: bool,
}

/// What happens to a conversation that leaves no room for an answer in the context. Both names are those of OpenAI's Responses API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// It is refused where the prompt does not fit, and answered as far as the context goes where it does.
    #[default]
    Disabled,
    /// Its oldest turns are left out ([`super::answer_chat`] says which).
    Auto,
}

/// A chat completion request, checked. Absent sampling fields mean the engine's defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct ChatRequest {
    /// The model's name; the engine holds one model and ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The conversation so far; never empty.
    pub messages: Vec<ChatMessage>,
    /// Chunks as they come instead of one reply.
    pub stream: bool,
    /// What the stream carries besides deltas.
    pub stream_options: StreamOptions,
    /// 0 is greedy; at most 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus sampling, 0 to 1; 1 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Keep the k likeliest tokens; 0 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Drop tokens below this share of the likeliest one's probability, 0 to 1; 0 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Divides (or multiplies, below zero) the logits of tokens already seen; 1 is off. Also read as `repeat_penalty`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// Same seed, same device, same answer. Negative integers are taken as their two's complement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Texts that end the answer, themselves left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Most tokens to answer with; `max_completion_tokens` is the same and wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Go on past end-of-generation tokens.
    pub ignore_eos: bool,
    /// What happens to a conversation that leaves no room for an answer.
    pub truncation: Truncation,
}

impl TryFrom<Value> for ChatRequest {
    type Error = RequestError;

    fn try_from(value: Value) -> Result<Self, RequestError> {
        let Value::Object(map) = &value else {
            return Err(RequestError::NotAnObject { found: json_kind(&value) });
        };
        let fields = Fields { map, path: String::new() };
        reject_unsupported(&fields)?;
        let stream_options = match fields.get("stream_options") {
            None => StreamOptions::default(),
            Some(options) => {
                let options = fields.object("stream_options", options)?;
                StreamOptions { include_usage: options.bool("include_usage")?.unwrap_or(false) }
            }
        };
        let repetition_penalty = match fields.get("repetition_penalty") {
            Some(_) => fields.f32("repetition_penalty", 0.01, 10.0, "a number from 0.01 to 10 (1 is off)")?,
            None => fields.f32("repeat_penalty", 0.01, 10.0, "a number from 0.01 to 10 (1 is off)")?,
        };
        let max_tokens = match fields.count("max_completion_tokens", 1)? {
            None => fields.count("max_tokens", 1)?,
            some => some,
        };
        Ok(Self {
            model: fields.string("model")?,
            messages: messages(&fields)?,
            stream: fields.bool("stream")?.unwrap_or(false),
            stream_options,
            temperature: fields.f32("temperature", 0.0, 2.0, "a number from 0 to 2 (0 is greedy)")?,
            top_p: fields.f32("top_p", 0.0, 1.0, "a number from 0 to 1 (1 is off)")?,
            top_k: fields.count("top_k", 0)?,
            min_p: fields.f32("min_p", 0.0, 1.0, "a number from 0 to 1 (0 is off)")?,
            repetition_penalty,
            seed: seed(&fields)?,
            stop: stop(&fields)?,
            max_tokens,
            ignore_eos: fields.bool("ignore_eos")?.unwrap_or(false),
            truncation: truncation(&fields)?,
        })
    }
}

fn truncation(fields: &Fields) -> Result<Truncation, RequestError> {
    match fields.string("truncation")?.as_deref() {
        None | Some("disabled") => Ok(Truncation::Disabled),
        Some("auto") => Ok(Truncation::Auto),
        Some(other) => {
            let value = Value::from(other).to_string();
            Err(RequestError::OutOfRange { field: fields.at("truncation"), expected: "\"auto\" or \"disabled\"", value })
        }
    }
}

fn reject_unsupported(fields: &Fields) -> Result<(), RequestError> {
    let unsupported = |field: &str, hint| Err(RequestError::Unsupported { field: field.into(), hint });
    let empty = |value: &Value| match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(on) => !on,
        _ => false,
    };
    if fields.get("n").is_some_and(|n| n.as_u64() != Some(1)) {
        return unsupported("n", "one answer is given per request, send the request again for another");
    }
    for field in ["tools", "functions"] {
        if fields.get(field).is_some_and(|value| !empty(value)) {
            return unsupported(field, "tool calls are not there yet, describe the tool in the system message");
        }
    }
    for field in ["frequency_penalty", "presence_penalty"] {
        if fields.get(field).is_some_and(|value| !empty(value)) {
            return unsupported(field, "use `repetition_penalty`");
        }
    }
    for field in ["logprobs", "top_logprobs", "logit_bias"] {
        if fields.get(field).is_some_and(|value| !empty(value)) {
            return unsupported(field, "leave it out");
        }
    }
    if let Some(format) = fields.get("response_format") {
        let format = fields.object("response_format", format)?;
        if format.string("type")?.as_deref() != Some("text") {
            return unsupported("response_format", "only {\"type\":\"text\"} is there yet");
        }
    }
    Ok(())
}

fn messages(fields: &Fields) -> Result<Vec<ChatMessage>, RequestError> {
    const EXPECTED: &str = "an array of at least one message";
    let value = fields.get("messages").ok_or_else(|| RequestError::Missing { field: fields.at("messages"), expected: EXPECTED })?;
    let Value::Array(items) = value else { return Err(fields.wrong("messages", EXPECTED, value)) };
    if items.is_empty() {
        return Err(RequestError::Missing { field: fields.at("messages"), expected: EXPECTED });
    }
    items.iter().enumerate().map(|(i, item)| message(&fields.object(&format!("messages[{i}]"), item)?)).collect()
}

fn message(fields: &Fields) -> Result<ChatMessage, RequestError> {
    const ROLES: &str = "\"system\", \"user\", \"assistant\" or \"tool\"";
    const CONTENT: &str = "a string or an array of text parts";
    let role = match fields.string("role")?.as_deref() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        Some(other) => {
            let value = Value::from(other).to_string();
            return Err(RequestError::OutOfRange { field: fields.at("role"), expected: ROLES, value });
        }
        None => return Err(RequestError::Missing { field: fields.at("role"), expected: ROLES }),
    };
    let content = match fields.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let mut text = String::new();
            for (i, part) in parts.iter().enumerate() {
                text.push_str(&text_part(&fields.object(&format!("content[{i}]"), part)?)?);
            }
            text
        }
        Some(other) => return Err(fields.wrong("content", CONTENT, other)),
        None if role == Role::Assistant => String::new(),
        None => return Err(RequestError::Missing { field: fields.at("content"), expected: CONTENT }),
    };
    Ok(ChatMessage { role, content })
}

fn text_part(fields: &Fields) -> Result<String, RequestError> {
    match fields.string("type")?.as_deref() {
        Some("text") => {
            fields.string("text")?.ok_or_else(|| RequestError::Missing { field: fields.at("text"), expected: "the part's text" })
        }
        Some(_) => Err(RequestError::Unsupported {
            field: fields.at("type"),
            hint: "only parts of type \"text\" can be read, the models here see no images and hear no sound",
        }),
        None => Err(RequestError::Missing { field: fields.at("type"), expected: "\"text\"" }),
    }
}

fn seed(fields: &Fields) -> Result<Option<u64>, RequestError> {
    const EXPECTED: &str = "an integer";
    let Some(value) = fields.get("seed") else { return Ok(None) };
    let Value::Number(number) = value else { return Err(fields.wrong("seed", EXPECTED, value)) };
    match number.as_u64().or_else(|| number.as_i64().map(|n| n as u64)).or_else(|| whole(number.as_f64()?)) {
        Some(seed) => Ok(Some(seed)),
        None => Err(fields.range("seed", EXPECTED, value)),
    }
}

fn stop(fields: &Fields) -> Result<Vec<String>, RequestError> {
    const EXPECTED: &str = "a string or an array of up to 16 strings, none of them empty";
    let Some(value) = fields.get("stop") else { return Ok(Vec::new()) };
    let items = match value {
        Value::String(_) => std::slice::from_ref(value),
        Value::Array(items) if items.len() <= 16 => items,
        Value::Array(_) => return Err(fields.range("stop", EXPECTED, value)),
        _ => return Err(fields.wrong("stop", EXPECTED, value)),
    };
    let mut texts = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let path = if value.is_array() { format!("stop[{i}]") } else { "stop".into() };
        match item {
            Value::String(text) if text.is_empty() => return Err(fields.range(&path, "a text that is not empty", item)),
            Value::String(text) => texts.push(text.clone()),
            _ => return Err(fields.wrong(&path, "a string", item)),
        }
    }
    Ok(texts)
}

/// A float that is a whole number a `u64` can hold: JSON writers differ in how they write `5`.
fn whole(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// One JSON object and where it stands in the request; null reads as absent.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, expected: &'static str, value: &Value) -> RequestError {
        RequestError::WrongType { field: self.at(name), expected, found: json_kind(value) }
    }

    fn range(&self, name: &str, expected: &'static str, value: &Value) -> RequestError {
        let mut text = value.to_string();
        if text.chars().count() > 80 {
            text = text.chars().take(80).chain(std::iter::once('…')).collect();
        }
        RequestError::OutOfRange { field: self.at(name), expected, value: text }
    }

    fn object(&self, name: &str, value: &'a Value) -> Result<Fields<'a>, RequestError> {
        match value {
            Value::Object(map) => Ok(Fields { map, path: self.at(name) }),
            _ => Err(self.wrong(name, "an object", value)),
        }
    }

    fn string(&self, name: &str) -> Result<Option<String>, RequestError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(value) => Err(self.wrong(name, "a string", value)),
        }
    }

    fn bool(&self, name: &str) -> Result<Option<bool>, RequestError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(*on)),
            Some(value) => Err(self.wrong(name, "true or false", value)),
        }
    }

    fn f32(&self, name: &str, min: f64, max: f64, expected: &'static str) -> Result<Option<f32>, RequestError> {
        match self.get(name) {
            None => Ok(None),
            Some(value @ Value::Number(number)) => match number.as_f64() {
                Some(n) if (min..=max).contains(&n) => Ok(Some(n as f32)),
                _ => Err(self.range(name, expected, value)),
            },
            Some(value) => Err(self.wrong(name, expected, value)),
        }
    }

    fn count(&self, name: &str, min: u32) -> Result<Option<u32>, RequestError> {
        let expected = if min == 0 { "a whole number, 0 or more" } else { "a whole number, 1 or more" };
        match self.get(name) {
            None => Ok(None),
            Some(value @ Value::Number(number)) => {
                let whole = number.as_u64().or_else(|| whole(number.as_f64()?));
                match whole.and_then(|n| u32::try_from(n).ok()) {
                    Some(n) if n >= min => Ok(Some(n)),
                    _ => Err(self.range(name, expected, value)),
                }
            }
            Some(value) => Err(self.wrong(name, expected, value)),
        }
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
