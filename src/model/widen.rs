//! Matrices that are stored in a wider type than the file's, so that one dispatch reads them together with those beside them.
//!
//! Files mix types: of q, k and v, the values are often stored in more bits. A product needs all its rows in one type, so each type would have a
//! dispatch of its own. Where one of the types holds the others' numbers exactly ([`Format::holds`]), those are repacked to it while they are
//! loaded, as long as a token does not read much more for it. Q4_K beside Q6_K, which larger K-quant files have, is no such pair: the scales
//! differ, and a type that held both would take twice the bytes. These keep a dispatch for each type.

use super::config::ModelConfig;
use crate::kernels::Format;
use crate::weights::gguf::TensorInfo;
use crate::weights::{format_of, matrix_bytes};
use std::collections::HashMap;

/// Of the bytes that a token reads, widening adds at most one of so many.
const MOST_ADDED: u64 = 50;

/// The matrices of a file that are stored in another type than the file's.
#[derive(Debug)]
pub struct Widening(HashMap<String, Format>);

/// Matrices that one dispatch reads if they agree.
struct Group {
    /// Those that become of another type, and which.
    widened: Vec<(String, Format)>,
    /// What a token reads more.
    added: u64,
    /// Dispatches less.
    saved: u64,
    /// There is no other way to run it.
    needed: bool,
}

impl Widening {
    /// The plan for a file: those widenings that save most dispatches for their bytes, until a token would read too much more.
    pub fn of(config: &ModelConfig, tensors: &[TensorInfo]) -> Self {
        let by_name: HashMap<&str, &TensorInfo> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let mut groups: Vec<Group> = (0..config.layers).flat_map(|layer| groups(config, &by_name, layer)).collect();
        groups.sort_by_key(|group| (!group.needed, group.added / group.saved));
        let tied = !by_name.contains_key("output.weight");
        let read: u64 = tensors.iter().map(|tensor| read(config, tensor, tied)).sum();
        let mut added = 0;
        let mut widened = HashMap::new();
        for group in groups {
            if group.needed || added + group.added <= read / MOST_ADDED {
                added += group.added;
                widened.extend(group.widened);
            }
        }
        Self(widened)
    }

    /// The format that a matrix is stored in; `None` where no kernel reads its type.
    pub fn format(&self, tensor: &TensorInfo) -> Option<Format> {
        self.0.get(&tensor.name).copied().or_else(|| format_of(tensor.kind))
    }
}

/// What could be widened in a layer.
fn groups(config: &ModelConfig, tensors: &HashMap<&str, &TensorInfo>, layer: u32) -> Vec<Group> {
    let qkv = ["attn_q", "attn_k", "attn_v"].map(str::to_owned);
    let mut groups: Vec<Group> = group(config, tensors, layer, &qkv, None, false).into_iter().collect();
    for suffix in ["", "_exps", "_shexp"] {
        let parts = ["ffn_gate", "ffn_up"].map(|part| format!("{part}{suffix}"));
        // With biases they stay apart whatever their types are.
        let biased = parts.iter().any(|part| tensors.contains_key(format!("blk.{layer}.{part}.bias").as_str()));
        if !biased {
            // Apart they are two products and a kernel that joins these.
            groups.extend(group(config, tensors, layer, &parts, Some(2), !suffix.is_empty()));
        }
    }
    groups
}

/// The group of these matrices, if their types differ and one of these holds the others. Where `saved` is not given, neighbours that agree
/// already are one dispatch.
fn group(
    config: &ModelConfig,
    tensors: &HashMap<&str, &TensorInfo>,
    layer: u32,
    parts: &[String],
    saved: Option<u64>,
    needed: bool,
) -> Option<Group> {
    let parts: Vec<(&TensorInfo, Format)> = parts
        .iter()
        .map(|part| {
            let tensor = tensors.get(format!("blk.{layer}.{part}.weight").as_str())?;
            Some((*tensor, format_of(tensor.kind)?))
        })
        .collect::<Option<_>>()?;
    let changes = parts.windows(2).filter(|pair| pair[0].1 != pair[1].1).count() as u64;
    if changes == 0 {
        return None;
    }
    let wide = parts.iter().map(|part| part.1).find(|wide| parts.iter().all(|part| wide.holds(part.1).is_some()))?;
    let narrow: Vec<_> = parts.into_iter().filter(|part| part.1 != wide).collect();
    let more = |tensor: &TensorInfo, own| matrix_bytes(tensor, wide).saturating_sub(matrix_bytes(tensor, own));
    Some(Group {
        added: narrow.iter().map(|(tensor, own)| of_used(config, tensor, more(tensor, *own))).sum(),
        widened: narrow.into_iter().map(|(tensor, _)| (tensor.name.clone(), wide)).collect(),
        saved: saved.unwrap_or(changes),
        needed,
    })
}

/// Bytes of a tensor that a token reads.
fn read(config: &ModelConfig, tensor: &TensorInfo, tied: bool) -> u64 {
    let head = tensor.name == "output.weight" || (tied && tensor.name == "token_embd.weight");
    match format_of(tensor.kind) {
        Some(format) if head || tensor.name.starts_with("blk.") => of_used(config, tensor, matrix_bytes(tensor, format)),
        _ => 0,
    }
}

/// The part of some of a tensor's bytes that a token's experts have.
fn of_used(config: &ModelConfig, tensor: &TensorInfo, bytes: u64) -> u64 {
    match config.experts {
        Some(experts) if tensor.name.contains("_exps.") => bytes / u64::from(experts.count.max(1)) * u64::from(experts.used),
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Experts;
    use crate::model::sample::llama;
    use crate::weights::gguf::TensorType::{self, Q4_0, Q4_K, Q5_0, Q6_K, Q8_0};

    fn tensor(name: &str, kind: TensorType, dims: &[u64]) -> TensorInfo {
        let elements: u64 = dims.iter().product();
        let bytes = elements / kind.block_elements() * kind.block_bytes();
        TensorInfo { name: name.into(), dims: dims.to_vec(), kind, offset: 0, bytes }
    }

    /// The matrices of a model of Qwen2.5 0.5B's sizes, whose values have the type `v` in the first `layers` layers and else that of the rest.
    fn qwen([rest, v, head]: [TensorType; 3], layers: u32) -> (ModelConfig, Vec<TensorInfo>) {
        let config = ModelConfig { head_dim: 64, ..llama(24, 896, 4864, 14, 2, 151_936) };
        let mut tensors = vec![tensor("token_embd.weight", rest, &[896, 151_936]), tensor("output.weight", head, &[896, 151_936])];
        for layer in 0..24 {
            let value = if layer < layers { v } else { rest };
            for (part, kind, dims) in [
                ("attn_q", rest, [896, 896]),
                ("attn_k", rest, [896, 128]),
                ("attn_v", value, [896, 128]),
                ("attn_output", rest, [896, 896]),
                ("ffn_gate", rest, [896, 4864]),
                ("ffn_up", rest, [896, 4864]),
                ("ffn_down", rest, [4864, 896]),
            ] {
                tensors.push(tensor(&format!("blk.{layer}.{part}.weight"), kind, &dims));
            }
        }
        (config, tensors)
    }

    /// How many matrices of each part become of another type.
    fn widened(config: &ModelConfig, tensors: &[TensorInfo], to: Format) -> [usize; 3] {
        let widening = Widening::of(config, tensors);
        assert!(widening.0.values().all(|format| *format == to), "{widening:?}");
        ["attn_q.", "attn_k.", "attn_v."].map(|part| widening.0.keys().filter(|name| name.contains(part)).count())
    }

    #[test]
    fn queries_and_keys_go_with_values() {
        let (config, tensors) = qwen([Q5_0, Q8_0, Q8_0], 12);
        assert_eq!(widened(&config, &tensors, Format::Q8_0), [12, 12, 0]);
        let (config, tensors) = qwen([Q8_0, Q5_0, Q8_0], 24);
        assert_eq!(widened(&config, &tensors, Format::Q8_0), [0, 0, 24]);
    }

    #[test]
    fn what_costs_too_much_is_left() {
        let (config, tensors) = qwen([Q4_0, Q8_0, Q4_0], 24);
        let [queries, keys, values] = widened(&config, &tensors, Format::Q8_0);
        let read: u64 = tensors[1..].iter().map(|tensor| tensor.bytes).sum();
        let layer: u64 = (896 + 128) * 896 / 2;
        assert_eq!((queries as u64, keys, values), (read / 50 / layer, queries, 0));
        assert!(queries > 0 && queries < 24);
    }

    #[test]
    fn types_of_other_scales_stay() {
        let (config, tensors) = qwen([Q4_K, Q6_K, Q6_K], 12);
        assert!(Widening::of(&config, &tensors).0.is_empty());
    }

    #[test]
    fn experts_gates_and_ups_have_to_agree() {
        let experts = Experts { count: 8, used: 2, feed_forward: 512, shared: 0, normalized: true, scale: 1.0 };
        let config = ModelConfig { experts: Some(experts), ..llama(1, 256, 512, 4, 4, 320) };
        let tensors = [("gate", Q4_0), ("up", Q5_0), ("down", Q8_0)]
            .map(|(part, kind)| tensor(&format!("blk.0.ffn_{part}_exps.weight"), kind, &[256, 512, 8]));
        let widening = Widening::of(&config, &tensors);
        assert_eq!(tensors.map(|tensor| widening.format(&tensor)), [Some(Format::Q5_0), Some(Format::Q5_0), Some(Format::Q8_0)]);
    }
}
