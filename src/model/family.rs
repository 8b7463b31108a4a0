//! Model families: for each architecture, where it differs from the others. What is not here comes from metadata, or from which tensors a
//! file has: biases, norms of queries and keys, norms behind a half of a block and fused matrices are used where they are (`weights.rs`).

use super::config::{ConfigError, RopeLayout};
use crate::kernels::{Activation, NormKind};

/// What makes one architecture different.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    /// `general.architecture`
    pub(super) architecture: &'static str,
    /// How a token's position is known.
    pub(super) positions: Positions,
    /// Of every norm.
    pub(super) norm: NormKind,
    /// Of the feed-forward network, or of its gate.
    pub(super) activation: Activation,
    /// How attention and feed-forward network join the residual stream.
    pub(super) residual: Residual,
    /// Embeddings are multiplied by the root of their length.
    pub(super) embedding_scaled: bool,
    /// `logit_scale` divides.
    pub(super) divides_logits: bool,
    /// `feed_forward_length` counts gate and up together.
    pub(super) halved_feed_forward: bool,
    /// The window, unless the file says it.
    pub(super) window: Option<u32>,
    /// With a window: each so manyth layer sees everything; 0: none does.
    pub(super) global_every: u32,
    /// What the file says of a window is not enough to follow it.
    pub(super) ignores_window: bool,
    /// There is a window only in the size with so many layers.
    pub(super) window_with_layers: Option<u32>,
    /// How RoPE differs between layers with a window and others.
    pub(super) local_rope: LocalRope,
    /// Each so manyth layer has no RoPE; 0: all have it.
    pub(super) no_rope_every: u32,
    /// `rope.scaling.finetuned` = false says that there is no RoPE.
    pub(super) finetuned_says_rope: bool,
    /// Soft caps of attention's scores and of logits, unless the file says them; 0 for none.
    pub(super) soft_caps: [f32; 2],
    /// In the size with so many layers, scores are scaled by the root of embedding / heads instead of a head's length.
    pub(super) attention_scale_by_embedding: Option<u32>,
    /// Embedding, residual stream and logits have factors, which a file has to say.
    pub(super) needs_factors: bool,
    /// Norms have neither weights nor biases.
    pub(super) bare_norms: bool,
    /// The chosen experts' weights sum to 1, unless the file says otherwise.
    pub(super) normalizes_experts: bool,
}

/// How a token's position is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Positions {
    /// By turning queries and keys; how files of the architecture lay out a head.
    Rope(RopeLayout),
    /// By an embedding of the position.
    Learned,
    /// By a penalty on distance (Press et al. 2021), whose slopes' greatest exponent is this unless the file says it. Where it is 0, by an
    /// embedding.
    Alibi(f32),
    /// By that in the size with so many layers, otherwise by turning.
    RopeUnlessLayers(u32, RopeLayout),
}

/// How RoPE differs between layers with a window and others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LocalRope {
    /// By its base, where the file says one for layers with a window (`rope.freq_base_swa`).
    Same,
    /// Layers with a window have this base, unless the file says another (`rope.freq_base_swa`), and no scaling.
    Base(f64),
    /// Layers with a window have no scaling.
    Unscaled,
    /// Only layers with a window have RoPE.
    Only,
}

/// How the two halves of a block join the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Residual {
    /// One after the other.
    Serial,
    /// Both from what was there before the block.
    Parallel,
    /// Parallel, unless `use_parallel_residual` is false.
    AsKey,
    /// Parallel in files without `ffn_norm`.
    AsNorms,
}

use Positions::{Alibi, Learned, Rope, RopeUnlessLayers};
use RopeLayout::{HalfSplit, Interleaved};

/// The graph that most others differ from (Touvron et al. 2023). Its converter permutes q and k so that neighbours turn together.
pub(super) const LLAMA: Family = Family {
    architecture: "llama",
    positions: Rope(Interleaved),
    norm: NormKind::Rms,
    activation: Activation::Silu,
    residual: Residual::Serial,
    embedding_scaled: false,
    divides_logits: false,
    halved_feed_forward: false,
    window: None,
    global_every: 0,
    ignores_window: false,
    window_with_layers: None,
    local_rope: LocalRope::Same,
    no_rope_every: 0,
    finetuned_says_rope: false,
    soft_caps: [0.0; 2],
    attention_scale_by_embedding: None,
    needs_factors: false,
    bare_norms: false,
    normalizes_experts: true,
};

const QWEN2: Family = Family { architecture: "qwen2", positions: Rope(HalfSplit), ..LLAMA };

const GEMMA: Family =
    Family { architecture: "gemma", activation: Activation::Gelu, embedding_scaled: true, positions: Rope(HalfSplit), ..LLAMA };

/// LayerNorm and GELU (Radford et al. 2019).
const GPT2: Family =
    Family { architecture: "gpt2", positions: Learned, norm: NormKind::Layer, activation: Activation::Gelu, ..LLAMA };

const GRANITE: Family = Family { architecture: "granite", divides_logits: true, finetuned_says_rope: true, ..LLAMA };

const COMMAND_R: Family = Family { architecture: "command-r", norm: NormKind::Layer, residual: Residual::Parallel, ..LLAMA };

const FAMILIES: [Family; 38] = [
    LLAMA,
    Family { architecture: "mistral3", ..LLAMA },
    Family { architecture: "smollm3", no_rope_every: 4, ..LLAMA },
    GRANITE,
    Family { architecture: "granitemoe", ..GRANITE },
    Family { architecture: "minicpm", needs_factors: true, finetuned_says_rope: false, ..GRANITE },
    Family { architecture: "deepseek", normalizes_experts: false, ..LLAMA },
    Family { architecture: "internlm2", ..LLAMA },
    Family { architecture: "qwen", halved_feed_forward: true, ..QWEN2 },
    QWEN2,
    Family { architecture: "qwen2moe", normalizes_experts: false, ..QWEN2 },
    Family { architecture: "qwen3", ..QWEN2 },
    Family { architecture: "qwen3moe", ..QWEN2 },
    Family { architecture: "chatglm", ..LLAMA },
    Family { architecture: "glm4", ..LLAMA },
    GEMMA,
    Family {
        architecture: "gemma2",
        window: Some(4096),
        global_every: 2,
        soft_caps: [50.0, 30.0],
        attention_scale_by_embedding: Some(46),
        ..GEMMA
    },
    Family {
        architecture: "gemma3",
        global_every: 6,
        local_rope: LocalRope::Base(10_000.0),
        attention_scale_by_embedding: Some(62),
        ..GEMMA
    },
    Family { architecture: "phi2", positions: Rope(HalfSplit), residual: Residual::Parallel, ..GPT2 },
    // Converters wrote windows without saying which layers have them, so that llama.cpp ignores them all, and the goldens with it.
    Family { architecture: "phi3", positions: Rope(HalfSplit), ignores_window: true, ..LLAMA },
    Family { architecture: "stablelm", norm: NormKind::Layer, positions: Rope(HalfSplit), residual: Residual::AsNorms, ..LLAMA },
    Family { architecture: "olmo", norm: NormKind::Layer, bare_norms: true, ..LLAMA },
    Family { architecture: "olmo2", positions: Rope(HalfSplit), global_every: 4, local_rope: LocalRope::Unscaled, ..LLAMA },
    Family { architecture: "olmoe", positions: Rope(HalfSplit), normalizes_experts: false, ..LLAMA },
    Family { architecture: "orion", norm: NormKind::Layer, positions: Rope(HalfSplit), ..LLAMA },
    Family { architecture: "exaone", ..QWEN2 },
    Family {
        architecture: "exaone4",
        window: Some(4096),
        window_with_layers: Some(64),
        global_every: 4,
        local_rope: LocalRope::Only,
        ..QWEN2
    },
    COMMAND_R,
    Family { architecture: "cohere2", window: Some(4096), global_every: 4, local_rope: LocalRope::Only, ..COMMAND_R },
    Family {
        architecture: "nemotron",
        norm: NormKind::Layer,
        positions: Rope(HalfSplit),
        activation: Activation::ReluSquared,
        ..LLAMA
    },
    Family { architecture: "falcon", positions: Rope(HalfSplit), residual: Residual::Parallel, ..GPT2 },
    Family { architecture: "gptneox", positions: Rope(HalfSplit), residual: Residual::AsKey, ..GPT2 },
    GPT2,
    Family { architecture: "starcoder", ..GPT2 },
    Family { architecture: "starcoder2", positions: Rope(HalfSplit), ..GPT2 },
    Family { architecture: "bloom", positions: Alibi(8.0), ..GPT2 },
    Family { architecture: "mpt", positions: Alibi(0.0), ..GPT2 },
    // 13B has 40 layers and ALiBi, 7B has 32 and RoPE.
    Family { architecture: "baichuan", positions: RopeUnlessLayers(40, Interleaved), ..LLAMA },
];

/// The family of an architecture.
///
/// # Errors
/// [`ConfigError::UnknownArchitecture`] lists the known ones.
pub(super) fn find(architecture: &str) -> Result<&'static Family, ConfigError> {
    FAMILIES.iter().find(|family| family.architecture == architecture).ok_or_else(|| ConfigError::UnknownArchitecture {
        architecture: architecture.into(),
        known: FAMILIES.map(|family| family.architecture).join(", "),
    })
}
