//! What can go wrong with a vocabulary, a text or a chat template.

use crate::weights::gguf::GgufError;

/// Why a tokenizer could not be built, or a text not be encoded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "each field is named in its message")]
pub enum TokenizerError {
    #[error("the tokenizer's metadata: {0}")]
    Metadata(#[from] GgufError),

    #[error("the model file has no `{key}`, which its tokenizer needs; convert the model again with a current llama.cpp")]
    MissingKey { key: &'static str },

    #[error("`tokenizer.ggml.model` is `{name}`, which is not supported; supported are: {}", known.join(", "))]
    UnknownModel { name: String, known: &'static [&'static str] },

    #[error("`tokenizer.ggml.pre` is `{name}`, which is not supported; supported are: {}", known.join(", "))]
    UnknownPreTokenizer { name: String, known: Vec<&'static str> },

    #[error("`{key}` has {found} entries, but the vocabulary has {expected} tokens")]
    WrongLength { key: &'static str, found: usize, expected: usize },

    #[error("`{key}` is {id}, but the vocabulary ends at {}", size - 1)]
    IdOutOfRange { key: String, id: u64, size: usize },

    #[error("the vocabulary has {size} tokens; between 1 and {limit} are allowed")]
    VocabularySize { size: usize, limit: usize },

    #[error("token {id} is {bytes} bytes long; at most {limit} are allowed")]
    TokenTooLong { id: usize, bytes: usize, limit: usize },

    #[error("`tokenizer.ggml.scores`: the score of token {id} is not a number")]
    BadScore { id: usize },

    #[error("`tokenizer.ggml.merges`: merge {index}, `{}`, is not two tokens with a space between", shorten(merge))]
    BadMerge { index: usize, merge: String },

    #[error(
        "`tokenizer.ggml.merges`: merge {index}, `{}`, needs the token `{}`, which the vocabulary does not have",
        shorten(merge),
        shorten(token)
    )]
    MergeWithoutToken { index: usize, merge: String, token: String },

    #[error("the vocabulary has no token for the byte {byte:#04x} and no unknown token")]
    NoByteToken { byte: u8 },

    #[error("{what} is asked for, but the model has no such token")]
    NoSuchToken { what: &'static str },

    #[error("tokenizer.json: {message}")]
    Json { message: String },

    #[error("the text could not be encoded: {message}")]
    Encode { message: String },
}

/// Why a chat template could not be compiled or rendered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TemplateError {
    /// The template is not valid Jinja.
    #[error("the model's chat template is not valid, line {line}: {message}")]
    Syntax {
        /// Line in the template, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The template refused the messages (`raise_exception`), often because of their order or a missing tool.
    #[error("the model's chat template refuses these messages (line {line}): {message}")]
    Refused {
        /// Line in the template, from 1.
        line: usize,
        /// The template's own words.
        message: String,
    },
    /// The template failed while it ran.
    #[error("the model's chat template failed at line {line}: {message}")]
    Failed {
        /// Line in the template, from 1; 0 where it is not known.
        line: usize,
        /// What happened there.
        message: String,
    },
    /// The template did more work than any honest one needs.
    #[error("the model's chat template was stopped at line {line}: it runs without end or makes too much text")]
    Endless {
        /// Line in the template, from 1; 0 where it is not known.
        line: usize,
    },
    /// There is no template of this name in the file.
    #[error("the model has no chat template named `{name}`; it has: {}", known.join(", "))]
    UnknownName {
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// The metadata that holds the template is malformed.
    #[error("the chat template's metadata: {0}")]
    Metadata(#[from] TokenizerError),
}

/// At most 64 characters, escaped: vocabularies can hold anything.
fn shorten(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
