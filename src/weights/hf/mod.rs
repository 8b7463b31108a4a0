//! A model as Hugging Face's libraries save it: config.json, tokenizer files, and safetensors or a pickled state_dict.
//!
//! It is presented as if it were a GGUF file: metadata under GGUF's keys, tensors under GGUF's names and at addresses of a
//! [`View`] that gives their bytes. So nothing behind this room knows of another format.

mod config;
#[cfg(test)]
mod damage_tests;
mod error;
mod family;
mod pickle;
#[cfg(test)]
mod pickle_tests;
mod safetensors;
mod sentencepiece;
mod tensors;
#[cfg(test)]
mod tests;
mod tokenizer;
mod torch;
mod zip;

pub use error::HfError;

use super::convert::Quantize;
use super::files::{Files, Layout, OpenError, Opened};
use super::gguf::{Gguf, Metadata};
use super::source::{Prefixed, Source, SourceError, View};
use super::types::TensorType;
use config::Config;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Longest config.json and the like.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// Longest list of a model's parts.
const MAX_INDEX_BYTES: u64 = 32 << 20;
/// Longest tokenizer.json: the largest published ones take 35 MB.
const MAX_TOKENIZER_BYTES: u64 = 128 << 20;
/// More than any published model has.
const MAX_PARTS: usize = 1024;

/// A tensor as one of the model's files has it.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    name: String,
    /// The type's name in the file.
    dtype: String,
    /// The type, where weights can have it.
    kind: Option<TensorType>,
    /// Sizes, the contiguous one last.
    shape: Vec<u64>,
    /// Number of the file.
    part: usize,
    /// First byte in the file.
    offset: u64,
    bytes: u64,
}

/// Opens the model whose files `files` has; `name` is what the model is called.
///
/// # Errors
/// [`OpenError`] names the file, and the key or tensor in it.
pub async fn open<F: Files>(files: &mut F, name: &str, quantize: Quantize) -> Result<Opened<F::Source>, OpenError> {
    let Some(json) = json(files, "config.json", MAX_CONFIG_BYTES).await? else {
        return Err(missing(name, "config.json", "one, or to be a GGUF file"));
    };
    refuse_quantized(&json)?;
    let (model_type, inner) = model_type(&json);
    let family = family::find(model_type)
        .ok_or_else(|| HfError::ModelType { found: model_type.chars().take(80).collect(), known: family::known() })?;
    let config = Config::new(inner);
    let mut entries = config::metadata(family, config, name)?.list;
    let rows = config.u32("vocab_size")?.unwrap_or(0) as usize;
    entries.extend(tokenizer::metadata(files, name, &json, rows).await?);
    let metadata = Metadata::from_entries(entries).map_err(|error| OpenError::Gguf { file: name.to_owned(), error })?;

    let (parts, stored) = weights(files, name).await?;
    let names: Vec<String> = parts.iter().map(|part| part.name().to_owned()).collect();
    let (tensors, extents) = tensors::plan(family, config, &stored, &names, quantize)?;
    let len = extents.iter().map(|extent| extent.bytes).sum();
    let gguf = Gguf { version: 3, metadata, tensors, alignment: 32, data_offset: 0 };
    let layout = Layout::HuggingFace(parts.len());
    let parts = parts.into_iter().map(|part| Prefixed::new(part, Vec::new())).collect();
    Ok(Opened { gguf, source: View::new(name, Some(len), parts, extents), layout })
}

fn missing(folder: &str, file: &str, needed: &str) -> OpenError {
    HfError::Missing { folder: folder.to_owned(), file: file.to_owned(), needed: needed.to_owned() }.into()
}

/// The type of the language model, and its part of the configuration.
fn model_type(json: &Json) -> (&str, &Json) {
    let of = |json: &'_ Json| json.get("model_type").and_then(Json::as_str).map(str::to_owned);
    let own = json.get("model_type").and_then(Json::as_str).unwrap_or("");
    match json.get("text_config").filter(|inner| of(inner).is_some_and(|inner| family::find(&inner).is_some())) {
        Some(inner) => (inner.get("model_type").and_then(Json::as_str).unwrap_or(own), inner),
        None => (own, json),
    }
}

fn refuse_quantized(json: &Json) -> Result<(), HfError> {
    let Some(quantization) = json.get("quantization_config").filter(|value| !value.is_null()) else { return Ok(()) };
    let method = quantization.get("quant_method").and_then(Json::as_str).unwrap_or("a method that config.json does not name");
    let method = match method {
        "awq" => "AWQ",
        "gptq" => "GPTQ",
        "fp8" => "8-bit floats (fp8)",
        other => other,
    };
    Err(HfError::Quantized { method: method.chars().take(80).collect() })
}

/// The files with the weights, and what is in them.
async fn weights<F: Files>(files: &mut F, folder: &str) -> Result<(Vec<F::Source>, Vec<Stored>), OpenError> {
    let mut names = None;
    for (whole, index) in
        [("model.safetensors", "model.safetensors.index.json"), ("pytorch_model.bin", "pytorch_model.bin.index.json")]
    {
        if let Some(json) = json(files, index, MAX_INDEX_BYTES).await? {
            names = Some(listed(&json, index)?);
            break;
        }
        if files.open(whole).await?.is_some() {
            names = Some(BTreeMap::from([(whole.to_owned(), Vec::new())]));
            break;
        }
    }
    let names = names.ok_or_else(|| missing(folder, "model.safetensors", "it, several with an index, or pytorch_model.bin"))?;
    let (mut parts, mut stored) = (Vec::new(), Vec::new());
    for (file, tensors) in names {
        let Some(mut part) = files.open(&file).await? else {
            return Err(missing(folder, &file, "all files that its index names"));
        };
        let found = match file.ends_with(".safetensors") {
            true => safetensors::read(&mut part, parts.len()).await?,
            false => torch::read(&mut part, parts.len()).await?,
        };
        let there: std::collections::HashSet<&str> = found.iter().map(|tensor| tensor.name.as_str()).collect();
        if let Some(absent) = tensors.iter().find(|name| !there.contains(name.as_str())) {
            let problem = "the index says that it is there, but it is not: are all files of one model?".into();
            return Err(HfError::Tensor { file, tensor: absent.clone(), problem }.into());
        }
        stored.extend(found);
        if !parts.is_empty() {
            part.release();
        }
        parts.push(part);
    }
    Ok((parts, stored))
}

/// The files that an index names, each with its tensors.
fn listed(index: &Json, file: &str) -> Result<BTreeMap<String, Vec<String>>, HfError> {
    let wrong = |problem: &str| HfError::Weights { file: file.to_owned(), problem: problem.to_owned() };
    let map = index.get("weight_map").and_then(Json::as_object).ok_or_else(|| wrong("it has no `weight_map`"))?;
    let mut parts = BTreeMap::<String, Vec<String>>::new();
    for (tensor, part) in map {
        let part = part.as_str().ok_or_else(|| wrong("a tensor's file is no text"))?;
        if part.contains(['/', '\\']) || part.starts_with('.') {
            return Err(wrong("it names a file that is not beside it"));
        }
        parts.entry(part.to_owned()).or_default().push(tensor.clone());
    }
    if parts.is_empty() || parts.len() > MAX_PARTS {
        return Err(wrong(&format!("it names {} files, and should name 1 to {MAX_PARTS}", parts.len())));
    }
    Ok(parts)
}

/// A whole small file, or `None` where there is none.
async fn text<F: Files>(files: &mut F, name: &str, limit: u64) -> Result<Option<Vec<u8>>, OpenError> {
    let Some(mut source) = files.open(name).await? else { return Ok(None) };
    let too_long = |bytes| HfError::TooLong { file: name.to_owned(), bytes, limit };
    let len = match source.len() {
        Some(len) => len,
        None => end_of(&mut source, limit).await?,
    };
    if len > limit {
        return Err(too_long(len).into());
    }
    Ok(Some(source.read(0, len as usize).await?.to_vec()))
}

/// Where a source of unknown length ends, found by reading on; more than `limit` if it does not end before that.
async fn end_of(source: &mut impl Source, limit: u64) -> Result<u64, SourceError> {
    const STEP: u64 = 1 << 20;
    let mut at = 0;
    while at <= limit {
        match source.read(at, STEP as usize).await {
            Ok(_) => at += STEP,
            Err(SourceError::Truncated { len, .. }) => return Ok(len),
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

/// A whole small JSON file, or `None` where there is none.
async fn json<F: Files>(files: &mut F, name: &str, limit: u64) -> Result<Option<Json>, OpenError> {
    let Some(text) = text(files, name, limit).await? else { return Ok(None) };
    let json = serde_json::from_slice(&text).map_err(|error| HfError::Json { file: name.to_owned(), reason: error.to_string() })?;
    Ok(Some(json))
}
