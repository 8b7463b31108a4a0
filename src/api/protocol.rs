//! What the page or the JS module and the worker say to each other: plain objects through `postMessage`.
//!
//! Every request carries an `id` chosen by the asker; every answer to it carries the same `id`. Chats queue in the worker and are
//! answered one after the other. An aborted chat that had begun ends with `done` and finish reason `abort`; one that had not,
//! and an aborted load, end with an `error` named `AbortError`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::types::{ChatChunk, ChatReply};

/// From the page or the JS module to the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// Load a model; one that is loaded already is unloaded first. Without `url` a `Blob` lies beside as `file`, or several as `files`.
    Load {
        /// The asker's number for this load.
        id: u64,
        /// Absolute URL of a GGUF file (any one of several parts), or of a Hugging Face model's folder, ending in `/`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
        /// How to load it.
        #[serde(default)]
        options: LoadOptions,
    },
    /// Answer a conversation.
    Chat {
        /// The asker's number for this chat.
        id: u64,
        /// A chat completion request, checked by the worker (see [`super::types::ChatRequest`]).
        request: Value,
    },
    /// Stop the load or chat with this number; unknown numbers are ignored.
    Abort {
        /// Number of the load or chat.
        id: u64,
    },
    /// Free the model and everything on the GPU; answered by `unloaded`.
    Unload {
        /// The asker's number for this request.
        id: u64,
    },
}

/// How to load a model; absent means the engine's choice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadOptions {
    /// Context length in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    /// Storage of keys and values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_type: Option<KvType>,
    /// Kernel tier to use instead of the best there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// What matrices that are stored as plain numbers become while they are loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantize: Option<Quantize>,
    /// Measure which kernels are quickest on this GPU, once; else a table chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<bool>,
    /// Never round inputs of products to 8 bits, even where that is quicker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
}

/// What matrices that are stored as plain numbers become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantize {
    /// They stay as they are.
    None,
    /// 8.5 bits a weight.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 4.5 bits a weight; the LM head 8.5.
    #[serde(rename = "q4_0")]
    Q4_0,
    /// 4.5 bits a weight, nearer to them than Q4_0, but slower to make; the LM head 8.5.
    #[serde(rename = "q4_k")]
    Q4K,
}

/// Storage of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvType {
    /// Half precision, packed.
    F16,
    /// Single precision.
    F32,
    /// Blocks of 32 signed bytes with a scale.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// Blocks of 32 nibbles with a scale.
    #[serde(rename = "q4_0")]
    Q4_0,
}

/// Kernel tier: what the adapter must have, and is used of it, beyond WebGPU's floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// f16, subgroups, and dot products of bytes: in hardware, unless forced where they are not.
    #[serde(rename = "a+")]
    APlus,
    /// f16 and subgroups.
    A,
    /// f16.
    B,
    /// The floor.
    C,
}

/// From the worker to the page or the JS module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromWorker {
    /// The WASM is up; messages sent before this are lost.
    Ready {
        /// Kinglet's version.
        version: String,
    },
    /// How far a load has come; a few times a second.
    Progress {
        /// Number of the load.
        id: u64,
        /// What is happening.
        phase: LoadPhase,
        /// Bytes of the file that have arrived.
        loaded: u64,
        /// Of how many, where that is known.
        #[serde(default)]
        total: Option<u64>,
        /// Bytes a second over the last seconds; 0 where bytes mean nothing.
        #[serde(default)]
        bytes_per_second: f64,
    },
    /// The load is done.
    Loaded {
        /// Number of the load.
        id: u64,
        /// What was loaded, and on what.
        info: EngineInfo,
    },
    /// A piece of a streamed answer.
    Chunk {
        /// Number of the chat.
        id: u64,
        /// The piece.
        chunk: ChatChunk,
    },
    /// The chat is done; sent after the last chunk of a stream too.
    Done {
        /// Number of the chat.
        id: u64,
        /// The whole answer.
        reply: ChatReply,
    },
    /// The model is gone from the GPU.
    Unloaded {
        /// Number of the unload.
        id: u64,
    },
    /// A request failed; without `id`, the worker itself did and everything open is lost.
    Error {
        /// Number of the request.
        #[serde(default)]
        id: Option<u64>,
        /// What went wrong.
        error: ErrorBody,
    },
}

/// What loading is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadPhase {
    /// Reading the GGUF header: metadata, vocabulary, tensor table.
    Header,
    /// Streaming tensors to the GPU.
    Weights,
    /// Building the pipelines.
    Compile,
}

/// What was loaded, and on what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineInfo {
    /// `general.name`, or the file's name.
    pub model: String,
    /// `general.architecture`.
    pub architecture: String,
    /// Name of the type that most weights are stored as, like `Q4_1`.
    pub quantization: String,
    /// Number of weights.
    pub parameters: u64,
    /// Context length in tokens.
    pub context: u32,
    /// Size of the vocabulary.
    pub vocab_size: u32,
    /// The GPU's name as the adapter tells it.
    pub adapter: String,
    /// Tier in use: `a+`, `a`, `b` or `c`.
    pub tier: String,
    /// The open device has subgroup operations, and kernels use them.
    pub subgroups: bool,
    /// The least and the most invocations of a subgroup, where there are subgroups.
    pub subgroup_sizes: Option<[u32; 2]>,
    /// The open device has `shader-f16`.
    pub f16: bool,
    /// Dot products of bytes are one instruction, as far as the adapter's name tells, or tier `a+` was forced.
    pub int8_dot: bool,
    /// Where the choice of kernels comes from: `table`, `stored` or `measured`.
    pub tuned_by: String,
    /// Bytes of the weights on the GPU.
    pub weight_bytes: u64,
    /// Bytes of everything on the GPU when the model was loaded; the KV cache grows with conversations.
    pub gpu_bytes: u64,
    /// Most bytes the WASM heap ever had.
    pub wasm_peak_bytes: u64,
    /// Seconds the load took.
    pub load_s: f64,
    /// What the engine had to do otherwise than asked, each in a sentence.
    pub notices: Vec<String>,
}

/// An error as it crosses `postMessage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Its class: `AbortError`, `InvalidRequestError`, `GgufError`, …
    pub name: String,
    /// What was wrong, where, and what to do.
    pub message: String,
    /// Path of the request's field at fault, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl ErrorBody {
    /// An error of class `name`.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into(), field: None }
    }

    /// The error of an aborted request.
    pub fn abort() -> Self {
        Self::new("AbortError", "The request was aborted.")
    }
}

impl From<&super::types::RequestError> for ErrorBody {
    fn from(error: &super::types::RequestError) -> Self {
        let field = Some(error.field()).filter(|field| !field.is_empty()).map(str::to_owned);
        Self { field, ..Self::new("InvalidRequestError", error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{ChatRequest, FinishReason, ReplyHead, Timings, Usage};
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn to_worker(value: Value, message: ToWorker) {
        assert_eq!(serde_json::from_value::<ToWorker>(value.clone()).unwrap(), message);
        assert_eq!(serde_json::to_value(&message).unwrap(), value);
    }

    #[track_caller]
    fn from_worker(message: FromWorker, value: Value) {
        assert_eq!(serde_json::to_value(&message).unwrap(), value);
        assert_eq!(serde_json::from_value::<FromWorker>(value).unwrap(), message);
    }

    #[test]
    fn messages_to_the_worker_have_the_stated_json() {
        to_worker(
            json!({"type": "load", "id": 1, "url": "https://x/m.gguf", "options": {"context": 2048, "kv_type": "f32", "tier": "a+", "quantize": "q4_0", "tune": false, "exact": true}}),
            ToWorker::Load {
                id: 1,
                url: Some("https://x/m.gguf".into()),
                options: LoadOptions {
                    context: Some(2048),
                    kv_type: Some(KvType::F32),
                    tier: Some(Tier::APlus),
                    quantize: Some(Quantize::Q4_0),
                    tune: Some(false),
                    exact: Some(true),
                },
            },
        );
        to_worker(
            json!({"type": "load", "id": 2, "options": {}}),
            ToWorker::Load { id: 2, url: None, options: LoadOptions::default() },
        );
        let request = json!({"messages": [{"role": "user", "content": "hi"}], "anything": [1]});
        to_worker(json!({"type": "chat", "id": 3, "request": request}), ToWorker::Chat { id: 3, request });
        to_worker(json!({"type": "abort", "id": 3}), ToWorker::Abort { id: 3 });
        to_worker(json!({"type": "unload", "id": 4}), ToWorker::Unload { id: 4 });
    }

    #[test]
    fn a_blob_beside_the_message_and_unknown_fields_do_no_harm() {
        let message = json!({"type": "load", "id": 1, "file": {}, "options": {"colour": "red"}, "more": 1});
        assert!(matches!(serde_json::from_value(message), Ok(ToWorker::Load { url: None, .. })));
    }

    #[test]
    fn messages_from_the_worker_have_the_stated_json() {
        from_worker(FromWorker::Ready { version: "0.1.0".into() }, json!({"type": "ready", "version": "0.1.0"}));
        from_worker(
            FromWorker::Progress { id: 1, phase: LoadPhase::Weights, loaded: 5, total: Some(9), bytes_per_second: 2.5 },
            json!({"type": "progress", "id": 1, "phase": "weights", "loaded": 5, "total": 9, "bytes_per_second": 2.5}),
        );
        from_worker(FromWorker::Unloaded { id: 4 }, json!({"type": "unloaded", "id": 4}));
        from_worker(
            FromWorker::Error { id: None, error: ErrorBody::new("DeviceLostError", "gone") },
            json!({"type": "error", "id": null, "error": {"name": "DeviceLostError", "message": "gone"}}),
        );
    }

    #[test]
    fn loaded_chunk_and_done_carry_their_bodies_inside() {
        let info = EngineInfo { model: "m".into(), context: 2048, tier: "c".into(), ..EngineInfo::default() };
        let value = serde_json::to_value(FromWorker::Loaded { id: 1, info }).unwrap();
        assert_eq!((&value["type"], &value["info"]["context"]), (&json!("loaded"), &json!(2048)));
        let head = ReplyHead { id: "chatcmpl-1".into(), created: 1, model: "m".into() };
        let value = serde_json::to_value(FromWorker::Chunk { id: 2, chunk: ChatChunk::text(&head, "a") }).unwrap();
        assert_eq!((&value["type"], &value["chunk"]["choices"][0]["delta"]["content"]), (&json!("chunk"), &json!("a")));
        let reply = ChatReply::new(&head, "a".into(), FinishReason::Abort, Usage::new(1, 1, 0), Timings::default(), 0);
        let value = serde_json::to_value(FromWorker::Done { id: 2, reply }).unwrap();
        assert_eq!(value["reply"]["choices"][0]["finish_reason"], "abort");
        assert!(matches!(serde_json::from_value(value), Ok(FromWorker::Done { id: 2, .. })));
    }

    #[test]
    fn an_older_workers_shorter_info_is_still_read() {
        let message = json!({"type": "loaded", "id": 1, "info": {"model": "m"}});
        assert!(serde_json::from_value::<FromWorker>(message).is_ok());
    }

    #[test]
    fn a_request_error_becomes_an_error_body_with_its_field() {
        let error = ChatRequest::try_from(json!({"messages": [{"role": "user", "content": 1}]})).unwrap_err();
        let body = ErrorBody::from(&error);
        assert_eq!((body.name.as_str(), body.field.as_deref()), ("InvalidRequestError", Some("messages[0].content")));
    }
}
