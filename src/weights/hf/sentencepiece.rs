//! `tokenizer.model`: SentencePiece's file (sentencepiece_model.proto), which older models have in place of a tokenizer.json.

use super::HfError;
use crate::weights::gguf::{Array, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Ids that added tokens may have: more than any vocabulary.
const MAX_TOKENS: usize = 1 << 22;

/// GGUF's types of tokens, which are SentencePiece's.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// A field of a protocol buffer's message.
enum Field<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Bytes(&'a [u8]),
    Other,
}

/// Reads a message field by field.
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next field and its number; `None` at the end, `Some(None)` where the message is damaged.
    fn next(&mut self) -> Option<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return None;
        }
        Some(self.field())
    }

    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Other)?,
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Fixed32(*self.take(4)?.first_chunk()?),
            _ => return None,
        };
        Some((key >> 3, field))
    }
}

/// What the file says.
struct Model {
    tokens: Vec<String>,
    scores: Vec<f32>,
    types: Vec<i32>,
    unigram: bool,
    /// Of unknown, BOS and EOS; -1 for none.
    ids: [i64; 3],
    add_prefix: bool,
}

fn parse(bytes: &[u8]) -> Option<Model> {
    // The defaults of the format.
    let mut model =
        Model { tokens: Vec::new(), scores: Vec::new(), types: Vec::new(), unigram: true, ids: [0, 1, 2], add_prefix: true };
    let mut message = Message(bytes);
    while let Some(field) = message.next() {
        match field? {
            (1, Field::Bytes(piece)) => {
                let (mut text, mut score, mut kind) = (String::new(), 0.0, 1);
                let mut piece = Message(piece);
                while let Some(field) = piece.next() {
                    match field? {
                        (1, Field::Bytes(bytes)) => text = std::str::from_utf8(bytes).ok()?.to_owned(),
                        (2, Field::Fixed32(bytes)) => score = f32::from_le_bytes(bytes),
                        (3, Field::Varint(number)) => kind = i32::try_from(number).ok()?,
                        _ => {}
                    }
                }
                model.tokens.push(text);
                model.scores.push(score);
                model.types.push(kind);
            }
            (2, Field::Bytes(trainer)) => {
                let mut trainer = Message(trainer);
                while let Some(field) = trainer.next() {
                    match field? {
                        (3, Field::Varint(kind)) => model.unigram = kind != 2,
                        // Ids are signed: none is -1.
                        (number @ 40..=42, Field::Varint(id)) => model.ids[number as usize - 40] = id.cast_signed(),
                        _ => {}
                    }
                }
            }
            (3, Field::Bytes(normalizer)) => {
                let mut normalizer = Message(normalizer);
                while let Some(field) = normalizer.next() {
                    if let (3, Field::Varint(truth)) = field? {
                        model.add_prefix = truth != 0;
                    }
                }
            }
            _ => {}
        }
    }
    Some(model)
}

/// The file as GGUF metadata. `added` has tokens that were added to the vocabulary, by id with whether they are special; `rows` is how many
/// the model has, `ends` which ids end an answer.
pub(super) fn metadata(
    bytes: &[u8],
    added: &BTreeMap<usize, (String, bool)>,
    settings: &Json,
    rows: usize,
    ends: &[u32],
) -> Result<Vec<(String, Value)>, HfError> {
    let wrong = |problem: &str| HfError::SentencePiece { problem: problem.to_owned() };
    let mut model =
        parse(bytes).filter(|model| !model.tokens.is_empty()).ok_or_else(|| wrong("it is damaged, or no SentencePiece file"))?;
    if model.unigram {
        return Err(wrong("its vocabulary is of the kind unigram, which Kinglet reads from a tokenizer.json only"));
    }
    let size = added.last_key_value().map_or(0, |(id, _)| id + 1).max(model.tokens.len());
    if size > MAX_TOKENS || (rows > 0 && size > rows) {
        return Err(wrong("it has more tokens, or tokens with higher ids, than the model"));
    }
    for id in model.tokens.len()..size {
        model.tokens.push(format!("[PAD{id}]"));
    }
    model.scores.resize(size, -1000.0);
    model.types.resize(size, UNUSED);
    for (id, (text, special)) in added {
        model.tokens[*id] = text.clone();
        // The file's own control and byte tokens stay what they are.
        if matches!(model.types[*id], 1 | UNUSED) {
            model.types[*id] = if *special { CONTROL } else { USER_DEFINED };
        }
    }
    let named = |key: &str, id: i64| {
        let value = settings.get(key);
        let text = value.and_then(|value| value.as_str().or_else(|| value.get("content")?.as_str()));
        let found = text.and_then(|text| model.tokens.iter().position(|token| token == text)).map(|id| id as u64);
        found.or(u64::try_from(id).ok()).filter(|id| *id < size as u64)
    };
    let [unknown, bos, eos] = model.ids;
    let roles = [("unknown", named("unk_token", unknown)), ("bos", named("bos_token", bos)), ("eos", named("eos_token", eos))];
    let eot = ends.iter().map(|id| u64::from(*id)).find(|id| Some(*id) != roles[2].1 && *id < size as u64);
    let mut entries: Vec<(&str, Value)> =
        vec![("model", Value::String("llama".into())), ("add_space_prefix", Value::Bool(model.add_prefix))];
    let flags = ["add_bos_token", "add_eos_token"].map(|key| (key, settings.get(key).and_then(Json::as_bool)));
    entries.extend(flags.into_iter().filter_map(|(key, truth)| Some((key, Value::Bool(truth?)))));
    let mut list: Vec<(String, Value)> = entries.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect();
    let ids = roles.into_iter().chain([("eot", eot)]);
    list.extend(ids.filter_map(|(role, id)| Some((format!("tokenizer.ggml.{role}_token_id"), Value::U64(id?)))));
    list.push(("tokenizer.ggml.tokens".into(), Value::Array(Array::String(model.tokens))));
    list.push(("tokenizer.ggml.scores".into(), Value::Array(Array::F32(model.scores))));
    list.push(("tokenizer.ggml.token_type".into(), Value::Array(Array::I32(model.types))));
    Ok(list)
}
