//! What a chat template is given.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::strftime::LocalTime;

/// One message of a chat, in OpenAI's words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`, or whatever else the model's template knows.
    pub role: String,
    /// What is said; empty where a message only calls tools (`null` is read as empty).
    #[serde(default, deserialize_with = "text_or_null")]
    pub content: String,
    /// The speaker's name, or the name of the tool that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The assistant's calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Which call a `tool` message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// What the assistant thought before it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
}

impl Message {
    /// A message with nothing but text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), ..Self::default() }
    }
}

/// A call of a tool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// By which the tool's answer refers to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Always `function`.
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    /// What is called.
    pub function: ToolCallFunction,
}

/// What a tool call calls.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCallFunction {
    /// The function's name.
    pub name: String,
    /// An object, or OpenAI's form: a string that holds the object as JSON. Templates are given the object.
    pub arguments: Value,
}

/// How [`super::ChatTemplate::render`] renders.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderOptions {
    /// The text ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// Tools that the model may call, each as OpenAI writes it (`{"type": "function", "function": {…}}`).
    pub tools: Vec<Value>,
    /// Documents to answer from, for the templates that know them.
    pub documents: Vec<Value>,
    /// Which of the file's templates; `None` for the default one.
    pub template: Option<String>,
    /// The time for templates that state it (`strftime_now`). Without it they state none, or fail if they must.
    pub now: Option<LocalTime>,
    /// More variables, such as `enable_thinking`.
    pub variables: serde_json::Map<String, Value>,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            tools: Vec::new(),
            documents: Vec::new(),
            template: None,
            now: None,
            variables: serde_json::Map::new(),
        }
    }
}

fn function() -> String {
    "function".to_owned()
}

fn text_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
