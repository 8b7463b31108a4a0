//! The tokenizer's files and the chat template as GGUF metadata.

use super::{HfError, MAX_CONFIG_BYTES, MAX_TOKENIZER_BYTES, json, missing, sentencepiece, text};
use crate::weights::files::{Files, OpenError};
use crate::weights::gguf::{Array, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;

const TEMPLATE: &str = "tokenizer.chat_template";

/// What the tokenizer is made of, the chat templates, and the tokens that end an answer; `rows` is how many tokens the model knows.
pub(super) async fn metadata<F: Files>(
    files: &mut F,
    folder: &str,
    config: &Json,
    rows: usize,
) -> Result<Vec<(String, Value)>, OpenError> {
    let settings = json(files, "tokenizer_config.json", MAX_CONFIG_BYTES).await?.unwrap_or_default();
    let generation = json(files, "generation_config.json", MAX_CONFIG_BYTES).await?.unwrap_or_default();
    let ends: Vec<u32> = [&generation, config].into_iter().flat_map(|file| ids(file.get("eos_token_id"))).collect();
    let mut entries = templates(files, &settings).await?;
    if let Some(tokenizer) = text(files, "tokenizer.json", MAX_TOKENIZER_BYTES).await? {
        let not_utf8 = |_| HfError::Json { file: "tokenizer.json".into(), reason: "it is not UTF-8".into() };
        // GGUF has this key for the whole file.
        entries.push(("tokenizer.huggingface.json".to_owned(), Value::String(String::from_utf8(tokenizer).map_err(not_utf8)?)));
        if settings.is_object() {
            entries.push(("kinglet.tokenizer_config.json".to_owned(), Value::String(settings.to_string())));
        }
        if !ends.is_empty() {
            entries.push(("kinglet.end_of_generation_ids".to_owned(), Value::Array(Array::U32(ends))));
        }
    } else if let Some(model) = text(files, "tokenizer.model", MAX_TOKENIZER_BYTES).await? {
        let added = json(files, "added_tokens.json", MAX_CONFIG_BYTES).await?.unwrap_or_default();
        entries.extend(sentencepiece::metadata(&model, &added_tokens(&added, &settings), &settings, rows, &ends)?);
    } else {
        return Err(missing(folder, "tokenizer.json", "one, or a tokenizer.model, for its tokens"));
    }
    Ok(entries)
}

/// Tokens that were added to a vocabulary, by id, with whether they are special: as older files list them, and as newer ones do.
fn added_tokens(added: &Json, settings: &Json) -> BTreeMap<usize, (String, bool)> {
    let id = |value: &Json| value.as_u64().and_then(|id| usize::try_from(id).ok());
    let older = added.as_object().into_iter().flatten().filter_map(|(text, value)| Some((id(value)?, (text.clone(), false))));
    let newer = settings.get("added_tokens_decoder").and_then(Json::as_object).into_iter().flatten().filter_map(|(id, token)| {
        let special = token.get("special").and_then(Json::as_bool).unwrap_or(false);
        Some((id.parse().ok()?, (token.get("content")?.as_str()?.to_owned(), special)))
    });
    older.chain(newer).collect()
}

/// One id or several.
fn ids(value: Option<&Json>) -> Vec<u32> {
    let id = |value: &Json| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Json::Array(values)) => values.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// The templates, wherever they are: in a file of their own, or in tokenizer_config.json.
async fn templates<F: Files>(files: &mut F, settings: &Json) -> Result<Vec<(String, Value)>, OpenError> {
    if let Some(text) = text(files, "chat_template.jinja", MAX_CONFIG_BYTES).await? {
        let text = String::from_utf8(text)
            .map_err(|_| HfError::Json { file: "chat_template.jinja".into(), reason: "it is not UTF-8".into() })?;
        return Ok(vec![(TEMPLATE.to_owned(), Value::String(text))]);
    }
    let file = json(files, "chat_template.json", MAX_CONFIG_BYTES).await?;
    let template = file.as_ref().and_then(|file| file.get("chat_template")).or(settings.get("chat_template"));
    Ok(match template {
        Some(Json::String(text)) => vec![(TEMPLATE.to_owned(), Value::String(text.clone()))],
        Some(Json::Array(list)) => list
            .iter()
            .filter_map(|entry| Some((entry.get("name")?.as_str()?, entry.get("template")?.as_str()?)))
            .map(|(name, text)| {
                let key = if name == "default" { TEMPLATE.to_owned() } else { format!("{TEMPLATE}.{name}") };
                (key, Value::String(text.to_owned()))
            })
            .collect(),
        _ => Vec::new(),
    })
}
