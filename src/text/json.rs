//! `tokenizer.json`, the format of the `tokenizers` library.
//!
//! The common kind (byte-level BPE with published patterns) runs on the same code as the vocabularies of GGUF files,
//! in linear time. Every other kind runs through the library's own normalizer, pre-tokenizer and model.

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::{
    Model as _, ModelWrapper, NormalizedString, Normalizer as _, NormalizerWrapper, OffsetType, PreTokenizedString,
    PreTokenizer as _, PreTokenizerWrapper,
};

use super::bpe::{Bpe, ByteAlphabet};
use super::error::TokenizerError;
use super::fragments::Specials;
use super::pretokenize::Splitter;
use super::pretokenizers::GPT2;
use super::spm::{SPACE, byte_of};
use super::tokenizer::{Model, Spaces, Tokenizer};
use super::vocab::{self, Kind, MAX_TOKEN_BYTES, MAX_TOKENS, Pieces, Roles, Special};

/// The parts of a tokenizer.json that encode plain text.
#[derive(Debug)]
pub(super) struct Json {
    normalizer: Option<NormalizerWrapper>,
    /// At the start of a text, and elsewhere.
    pre_tokenizers: [Option<PreTokenizerWrapper>; 2],
    model: ModelWrapper,
}

impl Json {
    /// Appends the ids of `text`; `start`: nothing stands before it.
    pub fn encode(&self, text: &str, start: bool, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let encode = || -> tokenizers::Result<_> {
            let mut normalized = NormalizedString::from(text);
            if let Some(normalizer) = &self.normalizer {
                normalizer.normalize(&mut normalized)?;
            }
            let mut words = PreTokenizedString::from(normalized);
            if let Some(pre_tokenizer) = &self.pre_tokenizers[usize::from(!start)] {
                pre_tokenizer.pre_tokenize(&mut words)?;
            }
            words.tokenize(|word| self.model.tokenize(word.get()))?;
            words.into_encoding(None, 0, OffsetType::None)
        };
        let encoding = encode().map_err(|error| TokenizerError::Encode { message: error.to_string() })?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }
}

fn json_error(error: impl ToString) -> TokenizerError {
    TokenizerError::Json { message: error.to_string() }
}

/// See [`Tokenizer::from_json`]. Ids from `rows` on are not the model's and are left out.
pub(super) fn load(json: &[u8], config: Option<&[u8]>, rows: usize) -> Result<Tokenizer, TokenizerError> {
    let source = tokenizers::Tokenizer::from_bytes(json).map_err(json_error)?;
    let config: Value = match config {
        None => Value::Null,
        Some(config) => serde_json::from_slice(config).map_err(|error| json_error(format!("tokenizer_config.json: {error}")))?,
    };
    let mut tokens = tokens(&source)?;
    tokens.truncate(rows);
    let specials: Vec<Special> = source
        .get_added_tokens_decoder()
        .into_iter()
        .filter(|(id, _)| (*id as usize) < rows)
        .map(|(id, token)| Special {
            id,
            kind: if token.special { Kind::Control } else { Kind::UserDefined },
            text: token.content,
            strip_left: token.lstrip,
            strip_right: token.rstrip,
        })
        .collect();
    let decoder = serde_json::to_string(&source.get_decoder()).map_err(json_error)?;
    let mut kinds = vec![Kind::Normal; tokens.len()];
    for special in &specials {
        if let Some(kind) = kinds.get_mut(special.id as usize) {
            *kind = special.kind;
        }
    }
    let pieces = pieces(&tokens, &kinds, &decoder);
    let roles = roles(&source, &tokens, &config)?;
    let model = match native(&source)? {
        Some(bpe) => Model::Bpe(Box::new(bpe)),
        None => Model::Json(Box::new(library_parts(&source)?)),
    };
    Ok(Tokenizer {
        model,
        pieces,
        kinds,
        specials: Specials::new(&specials),
        roles,
        spaces: Spaces { add_prefix: decoder.contains("\"Strip\"") || decoder.contains("\"Metaspace\""), remove_extra: false },
    })
}

/// Texts by id; ids that the file skips have an empty one.
fn tokens(source: &tokenizers::Tokenizer) -> Result<Vec<String>, TokenizerError> {
    let vocab = source.get_vocab(true);
    let size = vocab.values().max().map_or(0, |&id| id as usize + 1);
    if size == 0 || size > MAX_TOKENS {
        return Err(TokenizerError::VocabularySize { size, limit: MAX_TOKENS });
    }
    let mut tokens = vec![String::new(); size];
    for (token, id) in vocab {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenizerError::TokenTooLong { id: id as usize, bytes: token.len(), limit: MAX_TOKEN_BYTES });
        }
        tokens[id as usize] = token;
    }
    Ok(tokens)
}

/// The bytes of every token, read as the file's decoder would.
fn pieces(tokens: &[String], kinds: &[Kind], decoder: &str) -> Pieces {
    let alphabet = ByteAlphabet::new();
    let byte_level = decoder.contains("\"ByteLevel\"");
    let fallback = decoder.contains("\"ByteFallback\"");
    let metaspace = decoder.contains(SPACE);
    let mut pieces = Pieces::default();
    for (token, kind) in tokens.iter().zip(kinds) {
        match byte_of(token).filter(|_| fallback) {
            _ if *kind != Kind::Normal => pieces.push(token.as_bytes()),
            _ if byte_level => pieces.push(&alphabet.read(token)),
            Some(byte) => pieces.push(&[byte]),
            None if metaspace => pieces.push(token.replace(SPACE, " ").as_bytes()),
            None => pieces.push(token.as_bytes()),
        }
    }
    pieces
}

/// Special ids: from the config, and from what the post-processor puts around a text.
fn roles(source: &tokenizers::Tokenizer, tokens: &[String], config: &Value) -> Result<Roles, TokenizerError> {
    let around = |special| -> Result<Vec<u32>, TokenizerError> {
        let encoding = source.encode("a", special).map_err(json_error)?;
        Ok(encoding.get_ids().to_vec())
    };
    let (plain, full) = (around(false)?, around(true)?);
    let at = full.windows(plain.len().max(1)).position(|ids| ids == plain);
    let (before, after) = match at {
        Some(at) => (&full[..at], &full[at + plain.len()..]),
        None => (&[][..], &[][..]),
    };
    // A token is named by its text, or by an object that holds the text.
    let named = |key: &str| {
        let value = config.get(key)?;
        let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
        source.token_to_id(text)
    };
    let bos = named("bos_token").or(before.first().copied());
    let eos = named("eos_token").or(after.first().copied());
    let flag = |key: &str| config.get(key).and_then(Value::as_bool);
    Ok(Roles {
        bos,
        eos,
        unknown: named("unk_token"),
        end_of_generation: vocab::end_of_generation(tokens.iter().map(String::as_str).zip(0..), eos.into_iter()),
        add_bos: flag("add_bos_token").unwrap_or(!before.is_empty()) && bos.is_some(),
        add_eos: flag("add_eos_token").unwrap_or(!after.is_empty()) && eos.is_some(),
    })
}

/// The file as byte-level BPE on our own splitter, if it is of that kind.
fn native(source: &tokenizers::Tokenizer) -> Result<Option<Bpe>, TokenizerError> {
    let ModelWrapper::BPE(model) = source.get_model() else {
        return Ok(None);
    };
    let plain = model.unk_token.is_none()
        && model.dropout.is_none()
        && model.continuing_subword_prefix.is_none()
        && model.end_of_word_suffix.is_none()
        && !model.byte_fallback;
    let compose = match source.get_normalizer() {
        None => false,
        Some(NormalizerWrapper::NFC(_)) => true,
        Some(_) => return Ok(None),
    };
    let pre_tokenizer = serde_json::to_value(source.get_pre_tokenizer()).map_err(json_error)?;
    let mut patterns = Vec::new();
    if !plain || !read_patterns(&pre_tokenizer, &mut patterns) {
        return Ok(None);
    }
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let model: BPE = model.clone();
    Ok(Splitter::from_published(&patterns).map(|splitter| Bpe::from_parts(splitter, model, compose)))
}

/// Reads a pre-tokenizer's patterns; `false` if it does anything that patterns cannot say, or is not byte-level.
fn read_patterns(pre_tokenizer: &Value, patterns: &mut Vec<String>) -> bool {
    let steps = match pre_tokenizer["type"].as_str() {
        Some("Sequence") => pre_tokenizer["pretokenizers"].as_array(),
        _ => None,
    };
    let steps = steps.map_or(std::slice::from_ref(pre_tokenizer), Vec::as_slice);
    let Some((last, before)) = steps.split_last() else {
        return false;
    };
    for step in before {
        let pattern = match step["type"].as_str() {
            Some("Split") if step["behavior"] == "Isolated" && step["invert"] == Value::Bool(false) => {
                step["pattern"]["Regex"].as_str()
            }
            Some("Digits") if step["individual_digits"] == Value::Bool(true) => Some(r"\p{N}"),
            Some("Digits") => Some(r"\p{N}+"),
            _ => None,
        };
        match pattern {
            Some(pattern) => patterns.push(pattern.to_owned()),
            None => return false,
        }
    }
    if last["type"] != "ByteLevel" || last["add_prefix_space"] != Value::Bool(false) {
        return false;
    }
    if last["use_regex"] != Value::Bool(false) {
        patterns.push(format!(r"{GPT2}|\s+(?!\S)|\s+"));
    }
    true
}

fn library_parts(source: &tokenizers::Tokenizer) -> Result<Json, TokenizerError> {
    let first = source.get_pre_tokenizer().cloned();
    let mut value = serde_json::to_value(&first).map_err(json_error)?;
    never_prepend(&mut value);
    let later = serde_json::from_value(value).map_err(json_error)?;
    Ok(Json { normalizer: source.get_normalizer().cloned(), pre_tokenizers: [first, later], model: source.get_model().clone() })
}

/// `prepend_scheme` `first` puts a space before a text's first word only; elsewhere it means `never`.
fn never_prepend(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if key == "prepend_scheme" && value == "first" {
                    *value = "never".into();
                } else {
                    never_prepend(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(never_prepend),
        _ => {}
    }
}
