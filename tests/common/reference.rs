//! A plain forward pass of the llama family in f64: no cache, no tiles, one loop after the other.

use kinglet::kernels::{Activation, gated_reference, matvec_reference, rms_norm_reference};
use kinglet::model::{ModelConfig, RopeLayout, rope};
use std::collections::HashMap;

/// Weights by GGUF name, row by row.
pub type Tensors = HashMap<String, Vec<f64>>;

/// The residual stream after the embedding and after each block, (layers + 1) × (ids, embedding), and the logits, (ids, vocab).
pub struct Forward {
    pub residual: Vec<Vec<f64>>,
    pub logits: Vec<f64>,
}

pub fn forward(config: &ModelConfig, tensors: &Tensors, ids: &[u32]) -> Forward {
    let embedding = config.embedding as usize;
    let get = |name: &str| tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"));
    let table = get("token_embd.weight");
    let mut x: Vec<f64> = ids.iter().flat_map(|id| table[*id as usize * embedding..][..embedding].to_vec()).collect();
    let mut residual = vec![x.clone()];
    for layer in 0..config.layers {
        let part = |name: &str| get(&format!("blk.{layer}.{name}.weight"));
        let product = |name: &str, x: &[f64], k: usize| {
            let w = part(name);
            matvec_reference(w, x, w.len() / k, k)
        };
        let epsilon = f64::from(config.epsilon);
        let h = rms_norm_reference(&x, part("attn_norm"), epsilon);
        let mut q = product("attn_q", &h, embedding);
        let mut k = product("attn_k", &h, embedding);
        let v = product("attn_v", &h, embedding);
        let factors = tensors.get("rope_freqs.weight").map(|factors| factors.iter().map(|f| *f as f32).collect::<Vec<_>>());
        turn(config, factors.as_deref(), &mut q, config.heads as usize);
        turn(config, factors.as_deref(), &mut k, config.kv_heads as usize);
        let attended = attend(config, &q, &k, &v, ids.len());
        let out = product("attn_output", &attended, (config.heads * config.head_dim) as usize);
        x.iter_mut().zip(&out).for_each(|(x, o)| *x += o);
        let h = rms_norm_reference(&x, part("ffn_norm"), epsilon);
        let hidden = gated_reference(Activation::Silu, &product("ffn_gate", &h, embedding), &product("ffn_up", &h, embedding));
        let down = product("ffn_down", &hidden, config.feed_forward as usize);
        x.iter_mut().zip(&down).for_each(|(x, d)| *x += d);
        residual.push(x.clone());
    }
    let h = rms_norm_reference(&x, get("output_norm.weight"), f64::from(config.epsilon));
    let head = tensors.get("output.weight").unwrap_or(table);
    Forward { residual, logits: matvec_reference(head, &h, config.vocab as usize, embedding) }
}

fn turn(config: &ModelConfig, factors: Option<&[f32]>, rows: &mut [f64], heads: usize) {
    let dim = config.head_dim as usize;
    let config_rope = config.rope.unwrap();
    let half = config_rope.dims as usize / 2;
    let frequencies = rope::frequencies(&config_rope, factors);
    let factor = config_rope.attention_factor;
    for (i, head) in rows.chunks_exact_mut(dim).enumerate() {
        let position = (i / heads) as f64;
        for (pair, frequency) in frequencies.iter().enumerate() {
            let (a, b) = match config_rope.layout {
                RopeLayout::Interleaved => (2 * pair, 2 * pair + 1),
                RopeLayout::HalfSplit => (pair, pair + half),
            };
            let (sin, cos) = (position * frequency).sin_cos();
            let (x, y) = (head[a], head[b]);
            head[a] = factor * (x * cos - y * sin);
            head[b] = factor * (x * sin + y * cos);
        }
    }
}

fn attend(config: &ModelConfig, q: &[f64], k: &[f64], v: &[f64], rows: usize) -> Vec<f64> {
    let (heads, kv_heads, dim) = (config.heads as usize, config.kv_heads as usize, config.head_dim as usize);
    let mut out = vec![0.0; rows * heads * dim];
    for row in 0..rows {
        for head in 0..heads {
            let kv = head / (heads / kv_heads);
            let q = &q[(row * heads + head) * dim..][..dim];
            let at = |position: usize| (position * kv_heads + kv) * dim;
            let scores: Vec<f64> = (0..=row)
                .map(|p| q.iter().zip(&k[at(p)..][..dim]).map(|(q, k)| q * k).sum::<f64>() / (dim as f64).sqrt())
                .collect();
            let most = scores.iter().fold(f64::MIN, |most, score| most.max(*score));
            let total: f64 = scores.iter().map(|score| (score - most).exp()).sum();
            let y = &mut out[(row * heads + head) * dim..][..dim];
            for (p, score) in scores.iter().enumerate() {
                let weight = (score - most).exp() / total;
                y.iter_mut().zip(&v[at(p)..][..dim]).for_each(|(y, v)| *y += weight * v);
            }
        }
    }
    out
}
