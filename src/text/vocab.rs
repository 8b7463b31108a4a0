//! The vocabulary: what each token id stands for, and which ids have a special meaning.

use std::collections::BTreeMap;

use super::error::TokenizerError;
use crate::weights::gguf::Metadata;

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";

/// More tokens than any published vocabulary has, few enough for ids and offsets to stay in 32 bits.
pub(super) const MAX_TOKENS: usize = 1 << 22;
/// Longer than any published token; bounds the work that a hostile vocabulary can cause.
pub(super) const MAX_TOKEN_BYTES: usize = 16 << 10;

/// What a token is for (`tokenizer.ggml.token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl Kind {
    fn from_gguf(id: i32) -> Self {
        match id {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }

    /// Never made from plain text, and not shown in plain text.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Control | Self::Unknown)
    }
}

/// Texts of tokens that end a turn or a document in some published model. Files often name only one of theirs by key.
const END_OF_GENERATION: &[&str] = &[
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<turn|>",
    "<|tool_response>",
    "<eos>",
    "</s>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
    "<｜end▁of▁sentence｜>",
    // Code models write these where a new document begins.
    "<|fim_pad|>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<reponame>",
];

/// Bytes of every token one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Pieces {
    pub fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        self.ends.push(self.bytes.len() as u32);
    }

    pub fn get(&self, id: u32) -> Option<&[u8]> {
        let end = *self.ends.get(id as usize)?;
        let start = match id {
            0 => 0,
            _ => self.ends[id as usize - 1],
        };
        Some(&self.bytes[start as usize..end as usize])
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }
}

/// A token whose text is searched for in the text before anything else.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Special {
    pub id: u32,
    pub text: String,
    pub kind: Kind,
    /// Whitespace before (after) it belongs to it.
    pub strip_left: bool,
    pub strip_right: bool,
}

/// Ids with a special meaning and the switches that go with them.
#[derive(Debug, Clone, Default)]
pub(super) struct Roles {
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub unknown: Option<u32>,
    pub end_of_generation: Vec<u32>,
    pub add_bos: bool,
    pub add_eos: bool,
}

/// Checks `tokenizer.ggml.tokens`.
pub(super) fn tokens(metadata: &Metadata) -> Result<&[String], TokenizerError> {
    let tokens = metadata.strings(TOKENS)?.ok_or(TokenizerError::MissingKey { key: TOKENS })?;
    if tokens.is_empty() || tokens.len() > MAX_TOKENS {
        return Err(TokenizerError::VocabularySize { size: tokens.len(), limit: MAX_TOKENS });
    }
    let mut total = 0_u64;
    for (id, token) in tokens.iter().enumerate() {
        total += token.len() as u64;
        if token.len() > MAX_TOKEN_BYTES || total > u64::from(u32::MAX) {
            return Err(TokenizerError::TokenTooLong { id, bytes: token.len(), limit: MAX_TOKEN_BYTES });
        }
    }
    Ok(tokens)
}

/// What each token is for. Tokens that end a generation count as control tokens even where the file forgot to say so.
pub(super) fn kinds(metadata: &Metadata, tokens: &[String]) -> Result<Vec<Kind>, TokenizerError> {
    let mut kinds = match metadata.i32s(TOKEN_TYPE)? {
        None => vec![Kind::Normal; tokens.len()],
        Some(types) if types.len() != tokens.len() => {
            return Err(TokenizerError::WrongLength { key: TOKEN_TYPE, found: types.len(), expected: tokens.len() });
        }
        Some(types) => types.into_iter().map(Kind::from_gguf).collect(),
    };
    let html = has_html_tags(tokens.iter().map(String::as_str));
    for (kind, token) in kinds.iter_mut().zip(tokens) {
        if END_OF_GENERATION.contains(&token.as_str()) && !(html && token == "</s>") {
            *kind = Kind::Control;
        }
    }
    for key in [BOS, EOS, "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
        if let Some(id) = id_of(metadata, key, tokens.len())? {
            let kind = &mut kinds[id as usize];
            if *kind == Kind::Normal && metadata.get(TOKEN_TYPE).is_none() {
                *kind = Kind::Control;
            }
        }
    }
    Ok(kinds)
}

/// The tokens that are searched for as texts.
pub(super) fn specials(metadata: &Metadata, tokens: &[String], kinds: &[Kind]) -> Result<Vec<Special>, TokenizerError> {
    // Phi-3's tokenizer.json gives its special tokens `rstrip`, for which GGUF has no key.
    let name = metadata.string("general.name")?.unwrap_or("").to_lowercase();
    let phi3 = name.contains("phi-3") || name.contains("phi3");
    Ok(tokens
        .iter()
        .zip(kinds)
        .zip(0..)
        .filter(|((text, kind), _)| !text.is_empty() && (kind.is_control() || **kind == Kind::UserDefined))
        .map(|((text, &kind), id)| Special {
            id,
            text: text.clone(),
            kind,
            strip_left: false,
            strip_right: phi3 && !matches!(text.as_str(), "<unk>" | "<s>" | "<|endoftext|>"),
        })
        .collect())
}

const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";

/// What is true of a kind of tokenizer unless the file's keys say otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RoleDefaults {
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub unknown: Option<u32>,
    pub add_bos: bool,
}

/// Reads the special ids and switches.
pub(super) fn roles(metadata: &Metadata, tokens: &[String], defaults: RoleDefaults) -> Result<Roles, TokenizerError> {
    let size = tokens.len();
    let in_range = |id: Option<u32>| id.filter(|&id| (id as usize) < size);
    let bos = id_of(metadata, BOS, size)?.or(in_range(defaults.bos));
    let eos = id_of(metadata, EOS, size)?.or(in_range(defaults.eos));
    let unknown = id_of(metadata, "tokenizer.ggml.unknown_token_id", size)?.or(in_range(defaults.unknown));

    let by_text = tokens
        .iter()
        .zip(0_u32..)
        .filter(|(text, _)| END_OF_GENERATION.contains(&text.as_str()))
        .map(|(text, id)| (text.as_str(), id));
    let by_key = [eos]
        .into_iter()
        .chain([id_of(metadata, "tokenizer.ggml.eot_token_id", size)?, id_of(metadata, "tokenizer.ggml.eom_token_id", size)?])
        .flatten();
    Ok(Roles {
        bos,
        eos,
        unknown,
        end_of_generation: end_of_generation(by_text, by_key),
        add_bos: metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(defaults.add_bos),
        add_eos: metadata.bool("tokenizer.ggml.add_eos_token")?.unwrap_or(false),
    })
}

/// All ids that end a generation, sorted. `by_text` may be every token: only well-known texts count.
pub(super) fn end_of_generation<'a>(by_text: impl Iterator<Item = (&'a str, u32)>, by_key: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut texts: BTreeMap<&str, u32> = by_text.filter(|(text, _)| END_OF_GENERATION.contains(text)).collect();
    let has = |texts: &BTreeMap<&str, u32>, text| texts.contains_key(text);
    // In the harmony and Solar formats `<|end|>` closes one part of an answer, not the answer.
    if (has(&texts, "<|return|>") && has(&texts, "<|call|>")) || (has(&texts, "<|flush|>") && has(&texts, "<|calls|>")) {
        texts.remove("<|end|>");
    }
    if has_html_tags(texts.keys().copied()) {
        texts.remove("</s>");
    }
    let mut ids: Vec<u32> = texts.into_values().chain(by_key).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Gemma 4 has `</s>` as an ordinary HTML tag; its tool token tells that it is Gemma 4.
fn has_html_tags<'a>(mut tokens: impl Iterator<Item = &'a str>) -> bool {
    tokens.any(|token| token == "<|tool_response>")
}

fn id_of(metadata: &Metadata, key: &str, size: usize) -> Result<Option<u32>, TokenizerError> {
    // Converters write -1 or 2^32-1 for "there is none".
    let id = match metadata.get(key) {
        None => return Ok(None),
        Some(_) => match metadata.u64(key) {
            Ok(id) => id,
            Err(_) if matches!(metadata.i32(key), Ok(Some(-1))) => None,
            Err(error) => return Err(error.into()),
        },
    };
    match id {
        None => Ok(None),
        Some(id) if id == u64::from(u32::MAX) => Ok(None),
        Some(id) if id >= size as u64 => Err(TokenizerError::IdOutOfRange { key: key.to_owned(), id, size }),
        Some(id) => Ok(Some(id as u32)),
    }
}
