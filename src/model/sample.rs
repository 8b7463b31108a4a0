//! Configurations for unit tests.

use super::{ModelConfig, Rope, RopeLayout, RopeScaling};
use crate::kernels::{Activation, NormKind};

/// A model of the llama family.
pub(super) fn llama(layers: u32, embedding: u32, feed_forward: u32, heads: u32, kv_heads: u32, vocab: u32) -> ModelConfig {
    let head_dim = embedding / heads;
    let scaling = RopeScaling::None;
    ModelConfig {
        architecture: "llama".into(),
        name: "sample".into(),
        vocab,
        layers,
        embedding,
        feed_forward,
        heads,
        kv_heads,
        head_dim,
        context: 8192,
        norm: NormKind::Rms,
        bare_norms: false,
        epsilon: 1e-5,
        rope: Some(Rope { dims: head_dim, layout: RopeLayout::Interleaved, base: 1e4, scaling, attention_factor: 1.0 }),
        local_rope: None,
        rope_is_local: false,
        no_rope_every: 0,
        temperature: None,
        alibi: 0.0,
        learned_positions: false,
        window: 0,
        local: Vec::new(),
        attention_scale: 1.0 / (head_dim as f32).sqrt(),
        attention_soft_cap: 0.0,
        clamp: 0.0,
        activation: Activation::Silu,
        parallel: false,
        embedding_scale: 1.0,
        residual_scale: 1.0,
        logit_scale: 1.0,
        logit_soft_cap: 0.0,
        experts: None,
    }
}
