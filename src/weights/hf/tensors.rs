//! Hugging Face's tensors as GGUF's: names, shapes, and what becomes of the bytes.

use super::config::Config;
use super::family::Family;
use super::{HfError, Stored};
use crate::weights::convert::{Conversion, Quantize};
use crate::weights::gguf::TensorInfo;
use crate::weights::source::{Content, Extent, Piece};
use crate::weights::types::TensorType;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// GGUF's default alignment: addresses look like those of a file.
const ALIGNMENT: u64 = 32;
const MAX_EXPERTS: u32 = 4096;

/// Endings of the names of tensors that only quantized models have, and what made them.
const QUANTIZED: &[(&str, &str)] = &[
    (".qweight", "AWQ or GPTQ"),
    (".qzeros", "AWQ or GPTQ"),
    (".absmax", "bitsandbytes"),
    (".quant_map", "bitsandbytes"),
    (".SCB", "bitsandbytes"),
    (".weight_scale", "8-bit floats (fp8)"),
    (".weight_scale_inv", "8-bit floats (fp8)"),
    (".weight_packed", "compressed-tensors"),
];

/// Names of what has no part in the language model's answer.
const IGNORED: &[&str] = &["rotary_emb.inv_freq", "vision_tower.", "multi_modal_projector.", "vision_model.", "masked_bias"];

/// A tensor of GGUF's and what it is made of.
struct Planned<'a> {
    name: String,
    parts: Vec<&'a Stored>,
    /// The experts are one dimension more.
    stacked: bool,
}

/// What one stored tensor becomes.
enum Target {
    Whole(String),
    Expert(String, u32),
    Nothing,
}

/// The tensors as GGUF would have them, and where their bytes are; `files` has the parts' names.
pub(super) fn plan(
    family: &Family,
    config: Config<'_>,
    stored: &[Stored],
    files: &[String],
    quantize: Quantize,
) -> Result<(Vec<TensorInfo>, Vec<Extent>), HfError> {
    let file = |stored: &Stored| files.get(stored.part).cloned().unwrap_or_default();
    let tied = family.tied || config.bool("tie_word_embeddings")? == Some(true);
    let experts = config.u32("num_local_experts")?.or(config.u32("num_experts")?).unwrap_or(0);
    if experts > MAX_EXPERTS {
        return Err(HfError::Key {
            key: "num_experts".into(),
            found: experts.to_string(),
            expected: format!("at most {MAX_EXPERTS}"),
        });
    }
    let mut whole: Vec<Planned> = Vec::new();
    let mut stacks: BTreeMap<String, Vec<Option<&Stored>>> = BTreeMap::new();
    for tensor in stored {
        let wrong =
            |problem: &str| HfError::Tensor { file: file(tensor), tensor: tensor.name.clone(), problem: problem.to_owned() };
        match target(family, tensor, tied, &file(tensor))? {
            Target::Nothing => {}
            Target::Whole(name) => whole.push(Planned { name, parts: vec![tensor], stacked: false }),
            Target::Expert(name, number) => {
                let stack = stacks.entry(name).or_insert_with(|| vec![None; experts as usize]);
                let place = stack.get_mut(number as usize).ok_or_else(|| wrong("the model has fewer experts than that"))?;
                if place.replace(tensor).is_some() {
                    return Err(wrong("it is there twice"));
                }
            }
        }
    }
    for (name, stack) in stacks {
        let parts = stack.iter().enumerate().map(|(number, part)| {
            part.ok_or_else(|| HfError::Weights {
                file: files.join(", "),
                problem: format!("expert {number} of {name} is missing"),
            })
        });
        let parts = parts.collect::<Result<_, _>>()?;
        whole.push(Planned { name, parts, stacked: true });
    }
    if !tied && !whole.iter().any(|tensor| tensor.name == "output.weight") {
        let problem = "lm_head.weight is missing, and config.json does not say that the embedding serves (tie_word_embeddings)";
        return Err(HfError::Weights { file: files.join(", "), problem: problem.into() });
    }
    // Reads ascend as far as they can.
    whole.sort_by_key(|tensor| tensor.parts.first().map(|first| (first.part, first.offset)));

    let mut tensors = Vec::new();
    let mut extents = Vec::new();
    let mut offset = 0_u64;
    let mut push = |info: TensorInfo, content: Content| {
        let TensorInfo { bytes, .. } = info;
        extents.push(Extent { offset, bytes, content });
        tensors.push(TensorInfo { offset, ..info });
        offset = (offset + bytes).next_multiple_of(ALIGNMENT);
    };
    for tensor in &whole {
        let Some(first) = tensor.parts.first() else { continue };
        let (info, content) = converted(family, tensor, first, &file(first), quantize, tied)?;
        push(info, content);
    }
    for (name, factors) in rope_factors(config)? {
        let bytes: Vec<u8> = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
        push(info(name.into(), vec![factors.len() as u64], TensorType::F32, bytes.len() as u64), Content::Bytes(bytes));
    }
    duplicates(&tensors)?;
    Ok((tensors, extents))
}

fn info(name: String, dims: Vec<u64>, kind: TensorType, bytes: u64) -> TensorInfo {
    TensorInfo { name, dims, kind, offset: 0, bytes }
}

fn duplicates(tensors: &[TensorInfo]) -> Result<(), HfError> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(HfError::Weights { file: "the weights".into(), problem: format!("{} is there twice", pair[0]) }),
    }
}

/// What a tensor is called in GGUF.
fn target(family: &Family, tensor: &Stored, tied: bool, file: &str) -> Result<Target, HfError> {
    let name = tensor.name.as_str();
    if let Some((_, method)) = QUANTIZED.iter().find(|(ending, _)| name.ends_with(ending)) {
        return Err(HfError::Quantized { method: (*method).into() });
    }
    if IGNORED.iter().any(|part| name.contains(part)) {
        return Ok(Target::Nothing);
    }
    // Models inside others, and bare ones, have other beginnings.
    let mut short = name;
    for prefix in ["model.language_model.", "language_model.", "model."] {
        short = short.strip_prefix(prefix).unwrap_or(short);
    }
    let unknown =
        || HfError::UnknownTensor { tensor: name.to_owned(), file: file.to_owned(), model_type: family.model_type.to_owned() };
    let (base, suffix) = short.rsplit_once('.').filter(|(_, suffix)| matches!(*suffix, "weight" | "bias")).ok_or_else(unknown)?;
    match base {
        "embed_tokens" => return Ok(Target::Whole(format!("token_embd.{suffix}"))),
        "norm" => return Ok(Target::Whole(format!("output_norm.{suffix}"))),
        "lm_head" if tied => return Ok(Target::Nothing),
        "lm_head" => return Ok(Target::Whole(format!("output.{suffix}"))),
        _ => {}
    }
    let (layer, base) = base.strip_prefix("layers.").and_then(|rest| rest.split_once('.')).ok_or_else(unknown)?;
    let layer: u32 = layer.parse().map_err(|_| unknown())?;
    if let Some((_, known)) = family.layer.iter().flat_map(|list| list.iter()).find(|(theirs, _)| *theirs == base) {
        return Ok(Target::Whole(format!("blk.{layer}.{known}.{suffix}")));
    }
    let (before, behind) = family.experts.ok_or_else(unknown)?;
    let expert = base.strip_prefix(before).ok_or_else(unknown)?;
    let (ending, known) = behind.iter().find(|(ending, _)| expert.ends_with(ending)).ok_or_else(unknown)?;
    let number = expert[..expert.len() - ending.len()].parse().map_err(|_| unknown())?;
    Ok(Target::Expert(format!("blk.{layer}.{known}.{suffix}"), number))
}

/// GGUF's description of a tensor, and what its bytes are made of.
fn converted(
    family: &Family,
    tensor: &Planned<'_>,
    first: &Stored,
    file: &str,
    quantize: Quantize,
    tied: bool,
) -> Result<(TensorInfo, Content), HfError> {
    let wrong = |problem: String| HfError::Tensor { file: file.to_owned(), tensor: first.name.clone(), problem };
    let kind = match first.kind {
        Some(kind) => kind,
        None if first.dtype.starts_with("F8") => return Err(HfError::Quantized { method: "8-bit floats (fp8)".into() }),
        None => return Err(wrong(format!("its numbers are of type {}, and Kinglet reads F32, F16 and BF16", first.dtype))),
    };
    if first.shape.is_empty() || first.shape.len() > 2 || first.shape.contains(&0) {
        return Err(wrong(format!("its shape is {:?}, and should be that of a vector or a matrix", first.shape)));
    }
    if tensor.parts.iter().any(|part| part.kind != first.kind || part.shape != first.shape) {
        return Err(wrong("its type or shape is not that of the other experts".into()));
    }
    let mut dims: Vec<u64> = first.shape.iter().rev().copied().collect();
    if tensor.stacked {
        dims.push(tensor.parts.len() as u64);
    }
    let pieces = tensor.parts.iter().map(|part| Piece { part: part.part, offset: part.offset, bytes: part.bytes }).collect();
    let stored_bytes = tensor.parts.iter().map(|part| part.bytes).sum();
    let stored = info(tensor.name.clone(), dims, kind, stored_bytes);

    let add = if family.norm_plus_one && tensor.name.ends_with("norm.weight") { 1.0 } else { 0.0 };
    // Vectors and routers are small and matter much: GGUF's converter widens them too.
    let to =
        if stored.dims.len() == 1 || tensor.name.contains("ffn_gate_inp") { TensorType::F32 } else { quantize.of(&stored, tied) };
    if to == kind && add == 0.0 {
        return Ok((stored, Content::Stored(pieces)));
    }
    let columns = stored.columns();
    let bytes = to.row_bytes(columns).and_then(|row| row.checked_mul(stored.rows()));
    let bytes = bytes.ok_or_else(|| wrong(format!("{:?} numbers are more than a tensor can hold", stored.dims)))?;
    Ok((TensorInfo { kind: to, bytes, ..stored }, Content::Converted(pieces, Conversion { from: kind, to, add })))
}

/// Factors of RoPE's frequencies, which GGUF has as tensors.
fn rope_factors(config: Config<'_>) -> Result<Vec<(&'static str, Vec<f32>)>, HfError> {
    let rope = config.rope();
    let half = config.rope_dims()? as usize / 2;
    match rope.string("rope_type")?.or(rope.string("type")?) {
        Some("llama3") => Ok(vec![("rope_freqs.weight", llama3(config, half)?)]),
        Some("longrope" | "su") => {
            let list = |key: &str| -> Result<Vec<f32>, HfError> {
                let numbers = rope.get(key).and_then(Json::as_array).into_iter().flatten();
                let numbers: Vec<f32> = numbers.filter_map(Json::as_f64).map(|number| number as f32).collect();
                if numbers.len() == half {
                    return Ok(numbers);
                }
                Err(HfError::Key {
                    key: key.into(),
                    found: format!("{} numbers", numbers.len()),
                    expected: format!("{half} numbers"),
                })
            };
            Ok(vec![("rope_factors_long.weight", list("long_factor")?), ("rope_factors_short.weight", list("short_factor")?)])
        }
        _ => Ok(Vec::new()),
    }
}

/// Llama 3.1's rule: long waves are slowed down by `factor`, short ones are not, with a ramp between them.
fn llama3(config: Config<'_>, half: usize) -> Result<Vec<f32>, HfError> {
    let rope = config.rope();
    let base = rope.f64("rope_theta")?.or(config.f64("rope_theta")?).unwrap_or(10_000.0);
    let factor = rope.f64("factor")?.unwrap_or(8.0);
    let low = rope.f64("low_freq_factor")?.unwrap_or(1.0);
    let high = rope.f64("high_freq_factor")?.unwrap_or(4.0);
    let original = rope.f64("original_max_position_embeddings")?.unwrap_or(8192.0);
    let of = |i: usize| {
        let wave = 2.0 * std::f64::consts::PI * base.powf(i as f64 / half as f64);
        if wave < original / high {
            1.0
        } else if wave > original / low {
            factor
        } else {
            let smooth = (original / wave - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    Ok((0..half).map(|i| of(i) as f32).collect())
}
