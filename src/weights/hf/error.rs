//! What can be wrong with a Hugging Face model.

/// Why a folder in Hugging Face's layout cannot be used. `file` is the file at fault.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "each field is named in its message")]
pub enum HfError {
    #[error("there is no {file} in {folder}; a model needs {needed}")]
    Missing { folder: String, file: String, needed: String },

    #[error("{file} is {bytes} bytes long, and no sane one is longer than {limit}")]
    TooLong { file: String, bytes: u64, limit: u64 },

    #[error("{file} cannot be read as JSON: {reason}")]
    Json { file: String, reason: String },

    #[error("config.json: {key:?} is {found}, and should be {expected}")]
    Key { key: String, found: String, expected: String },

    #[error("config.json: the model type {found:?} is not supported in this form; these are: {known}. A GGUF of the model may run")]
    ModelType { found: String, known: String },

    #[error(
        "the model is quantized with {method}, which Kinglet does not read; take the original weights (with --quantize if they are too large), or a GGUF of the model"
    )]
    Quantized { method: String },

    #[error("{file}: {problem}")]
    Weights { file: String, problem: String },

    #[error("{file}: tensor {tensor:?}: {problem}")]
    Tensor { file: String, tensor: String, problem: String },

    #[error(
        "tensor {tensor:?} in {file} is not known for the model type {model_type:?}; running without it would give wrong answers, so Kinglet does not"
    )]
    UnknownTensor { tensor: String, file: String, model_type: String },

    #[error("{file}: {problem}; Kinglet reads weights out of a pickle, but never runs it")]
    Pickle { file: String, problem: String },

    #[error("tokenizer.model: {problem}")]
    SentencePiece { problem: String },
}
