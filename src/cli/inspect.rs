//! `kinglet inspect`: what is in a model file and what Kinglet would make of it. Only the header is read.

use super::args::InspectArgs;
use super::exit::Failure;
use super::fit::{self, Fit};
use super::model::ModelFile;
use super::output::{self, bytes, printable};
use kinglet::kernels::KvType;
use kinglet::model::{KvBytes, ModelConfig, RopeScaling};
use kinglet::text::{ChatTemplate, TemplateOrigin, Tokenizer};
use kinglet::weights::files::Layout;
use kinglet::weights::format_of;
use kinglet::weights::gguf::{Array, Gguf, TensorInfo, Value};
use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// So many elements of an array are shown.
const SHOWN: usize = 8;
/// A longer string is shortened in JSON too; chat templates are not so long.
const LONGEST: usize = 64 << 10;
/// So many characters of a string are shown in the table.
const WIDTH: usize = 100;

#[derive(Serialize)]
struct Report {
    file: String,
    /// What the files are.
    format: String,
    bytes: Option<u64>,
    version: u32,
    alignment: u64,
    data_offset: u64,
    parameters: u64,
    /// In the file's order.
    #[serde(serialize_with = "as_map")]
    metadata: Vec<(String, Json)>,
    tensor_count: usize,
    tensor_types: Vec<TypeSum>,
    tensors: Vec<TensorRow>,
    config: Option<Config>,
    tokenizer: Option<Text>,
    template: Option<&'static str>,
    /// What it takes on a GPU; nothing if its architecture is not known.
    cost: Option<Fit>,
    /// What keeps this file from being run; empty where nothing does.
    unsupported: Vec<String>,
}

fn as_map<S: Serializer>(entries: &[(String, Json)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(key, value)| (key, value)))
}

/// All tensors of one type.
#[derive(Serialize)]
struct TypeSum {
    #[serde(rename = "type")]
    kind: &'static str,
    tensors: usize,
    elements: u64,
    bytes: u64,
    supported: bool,
}

#[derive(Serialize)]
struct TensorRow {
    name: String,
    dims: Vec<u64>,
    #[serde(rename = "type")]
    kind: &'static str,
    offset: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Config {
    architecture: String,
    name: String,
    vocab: u32,
    layers: u32,
    embedding: u32,
    feed_forward: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    context: u32,
    epsilon: f32,
    rope_base: Option<f64>,
    rope_dims: Option<u32>,
    rope_layout: Option<String>,
    rope_scaling: Option<String>,
    window: Option<u32>,
    default_context: u32,
    kv_bytes_f16: u64,
    kv_bytes_f32: u64,
}

#[derive(Serialize)]
struct Text {
    model: String,
    pre: Option<String>,
    tokens: usize,
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
    end_of_generation: Vec<u32>,
}

/// Reads the header and prints what it says.
pub fn run(args: &InspectArgs) -> Result<(), Failure> {
    let file = ModelFile::open(&args.model)?;
    let report = report(&file, args)?;
    if args.json { output::json(&report) } else { print(&report) }
}

fn report(file: &ModelFile, args: &InspectArgs) -> Result<Report, Failure> {
    let Gguf { version, metadata, tensors, alignment, data_offset } = file.gguf();
    let device = fit::device(args)?;
    let mut unsupported = Vec::new();
    let mut keep = |error: String| {
        if !unsupported.contains(&error) {
            unsupported.push(error);
        }
    };
    let config = ModelConfig::from_gguf(metadata, tensors).map_err(|error| keep(error.to_string())).ok();
    let tokenizer = Tokenizer::from_gguf(metadata).map_err(|error| keep(error.to_string())).ok();
    // Without a tokenizer the template's complaint would be the same again.
    let template = tokenizer
        .as_ref()
        .and_then(|tokenizer| ChatTemplate::for_model(metadata, tokenizer).map_err(|error| keep(error.to_string())).ok());
    let tensor_types = type_sums(tensors);
    for sum in tensor_types.iter().filter(|sum| !sum.supported) {
        keep(format!("{} tensors are of type {}, which no kernel reads yet", sum.tensors, sum.kind));
    }
    let name = |key: &str| metadata.string(key).ok().flatten().map(str::to_owned);
    let carried = metadata.get("tokenizer.ggml.model").is_none().then(|| "tokenizer.json".to_owned());
    Ok(Report {
        file: file.name().to_owned(),
        format: match file.layout() {
            Layout::Gguf => format!("GGUF version {version}"),
            Layout::Split(parts) => format!("GGUF version {version} in {parts} parts"),
            Layout::HuggingFace(1) => "Hugging Face model".into(),
            Layout::HuggingFace(parts) => format!("Hugging Face model with {parts} files of weights"),
        },
        bytes: file.bytes(),
        version: *version,
        alignment: *alignment,
        data_offset: *data_offset,
        parameters: file.gguf().parameters(),
        metadata: metadata.iter().map(|(key, value)| (key.to_owned(), value_json(value))).collect(),
        tensor_count: tensors.len(),
        tensor_types,
        tensors: tensors.iter().map(tensor_row).collect(),
        config: config.as_ref().map(config_row),
        tokenizer: tokenizer.map(|tokenizer| Text {
            model: name("tokenizer.ggml.model").or(carried).unwrap_or_default(),
            pre: name("tokenizer.ggml.pre"),
            tokens: tokenizer.vocab_size(),
            bos: tokenizer.bos(),
            eos: tokenizer.eos(),
            adds_bos: tokenizer.adds_bos(),
            end_of_generation: tokenizer.eog_ids().to_vec(),
        }),
        template: template.map(|template| match template.origin() {
            TemplateOrigin::File => "file",
            TemplateOrigin::ChatMl => "default: ChatML",
            TemplateOrigin::Plain => "default: plain",
        }),
        cost: config.as_ref().map(|config| fit::fit(args, device.as_ref(), config, tensors)).transpose()?,
        unsupported,
    })
}

fn type_sums(tensors: &[TensorInfo]) -> Vec<TypeSum> {
    let mut sums: BTreeMap<_, TypeSum> = BTreeMap::new();
    for tensor in tensors {
        let sum = sums.entry(tensor.kind).or_insert_with(|| TypeSum {
            kind: tensor.kind.name(),
            tensors: 0,
            elements: 0,
            bytes: 0,
            supported: format_of(tensor.kind).is_some(),
        });
        sum.tensors += 1;
        sum.elements += tensor.elements();
        sum.bytes += tensor.bytes;
    }
    sums.into_values().collect()
}

fn tensor_row(tensor: &TensorInfo) -> TensorRow {
    let TensorInfo { name, dims, kind, offset, bytes } = tensor;
    TensorRow { name: name.clone(), dims: dims.clone(), kind: kind.name(), offset: *offset, bytes: *bytes }
}

fn config_row(config: &ModelConfig) -> Config {
    let kv_bytes = |kind: KvType| KvBytes::of(config, config.default_context(), kind).reserved;
    Config {
        architecture: config.architecture.clone(),
        name: config.name.clone(),
        vocab: config.vocab,
        layers: config.layers,
        embedding: config.embedding,
        feed_forward: config.feed_forward,
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        context: config.context,
        epsilon: config.epsilon,
        rope_base: config.rope.map(|rope| rope.base),
        rope_dims: config.rope.map(|rope| rope.dims),
        rope_layout: config.rope.map(|rope| format!("{:?}", rope.layout)),
        rope_scaling: config.rope.map(|rope| match rope.scaling {
            RopeScaling::None => "none".into(),
            RopeScaling::Linear { factor } => format!("linear, factor {factor}"),
            RopeScaling::Yarn { factor, original_context, .. } => format!("yarn, factor {factor} from {original_context}"),
            RopeScaling::Long { original_context, .. } => format!("long, from {original_context}"),
        }),
        window: (config.window > 0).then_some(config.window),
        default_context: config.default_context(),
        kv_bytes_f16: kv_bytes(KvType::F16),
        kv_bytes_f32: kv_bytes(KvType::F32),
    }
}

/// A value as JSON. A long array becomes its type, its length and its first elements.
fn value_json(value: &Value) -> Json {
    match value {
        Value::U8(v) => json!(v),
        Value::I8(v) => json!(v),
        Value::U16(v) => json!(v),
        Value::I16(v) => json!(v),
        Value::U32(v) => json!(v),
        Value::I32(v) => json!(v),
        Value::U64(v) => json!(v),
        Value::I64(v) => json!(v),
        Value::F32(v) => json!(v),
        Value::F64(v) => json!(v),
        Value::Bool(v) => json!(v),
        // A whole tokenizer.json, say.
        Value::String(v) if v.len() > LONGEST => {
            let first: String = v.chars().take(WIDTH).collect();
            json!({ "type": "string", "bytes": v.len(), "first": first })
        }
        Value::String(v) => json!(v),
        Value::Array(array) if array.len() > SHOWN => {
            json!({ "type": array.type_name(), "length": array.len(), "first": elements(array) })
        }
        Value::Array(array) => elements(array),
    }
}

fn elements(array: &Array) -> Json {
    fn first<T: Serialize>(elements: &[T]) -> Json {
        json!(elements[..elements.len().min(SHOWN)])
    }
    match array {
        Array::U8(v) => first(v),
        Array::I8(v) => first(v),
        Array::U16(v) => first(v),
        Array::I16(v) => first(v),
        Array::U32(v) => first(v),
        Array::I32(v) => first(v),
        Array::U64(v) => first(v),
        Array::I64(v) => first(v),
        Array::F32(v) => first(v),
        Array::F64(v) => first(v),
        Array::Bool(v) => first(v),
        Array::String(v) => first(v),
        Array::Array(v) => v.iter().take(SHOWN).map(elements).collect(),
    }
}

fn print(report: &Report) -> Result<(), Failure> {
    let size = report.bytes.map_or("unknown length".into(), bytes);
    output::line(format_args!("{}: {}, {size}\n\nMetadata", report.file, report.format))?;
    for (key, value) in &report.metadata {
        let text = value.to_string();
        let short: String = text.chars().take(WIDTH).collect();
        let more = if short.len() < text.len() { "…" } else { "" };
        output::line(format_args!("    {} = {}{more}", printable(key), printable(&short)))?;
    }
    output::line(format_args!("\n{} tensors, {} parameters", report.tensor_count, report.parameters))?;
    for TypeSum { kind, tensors, elements, bytes: size, supported } in &report.tensor_types {
        let note = if *supported { "" } else { "  (not supported yet)" };
        output::line(format_args!("    {kind:8} {tensors:>5} tensors {elements:>14} numbers {:>12}{note}", bytes(*size)))?;
    }
    if let Some(c) = &report.config {
        output::line(format_args!("\nModel {} ({})", printable(&c.name), printable(&c.architecture)))?;
        output::line(format_args!(
            "    {} layers, {} wide, feed-forward {}, vocabulary {}",
            c.layers, c.embedding, c.feed_forward, c.vocab
        ))?;
        output::line(format_args!("    {} heads of {}, {} of them for keys and values", c.heads, c.head_dim, c.kv_heads))?;
        if let (Some(layout), Some(dims), Some(base), Some(scaling)) = (&c.rope_layout, c.rope_dims, c.rope_base, &c.rope_scaling) {
            output::line(format_args!("    RoPE {layout} over {dims}, base {base}, scaling {scaling}"))?;
        }
        if let Some(window) = c.window {
            output::line(format_args!("    some layers see the last {window} positions only"))?;
        }
        output::line(format_args!(
            "    context {}; by default {}, whose KV cache takes {} (f16) or {} (f32) at first",
            c.context,
            c.default_context,
            bytes(c.kv_bytes_f16),
            bytes(c.kv_bytes_f32)
        ))?;
    }
    if let Some(text) = &report.tokenizer {
        let pre = text.pre.as_deref().unwrap_or("none");
        output::line(format_args!(
            "\nTokenizer {} (pre-tokenizer {}), {} tokens",
            printable(&text.model),
            printable(pre),
            text.tokens
        ))?;
        let id = |id: Option<u32>| id.map_or("none".into(), |id| id.to_string());
        output::line(format_args!(
            "    BOS {}{}, EOS {}, answers end at {:?}",
            id(text.bos),
            if text.adds_bos { " (put in front)" } else { "" },
            id(text.eos),
            text.end_of_generation
        ))?;
    }
    if let Some(template) = report.template {
        output::line(format_args!("    chat template: {template}"))?;
    }
    if let Some(cost) = &report.cost {
        fit::print(cost)?;
    }
    if report.unsupported.is_empty() {
        return output::line(format_args!("\nKinglet runs this model."));
    }
    output::line(format_args!("\nKinglet cannot run this model yet:"))?;
    report.unsupported.iter().try_for_each(|what| output::line(format_args!("    {what}")))
}
