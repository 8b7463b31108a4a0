//! The families by `model_type`: what they are called in GGUF, and what their tensors are.

/// Where an expert's number stands in a name: behind this, and before these, whose second part is GGUF's name of all together.
type Experts = (&'static str, [(&'static str, &'static str); 3]);

/// One family in Hugging Face's form.
pub(super) struct Family {
    /// `model_type` in config.json.
    pub model_type: &'static str,
    /// `general.architecture` in GGUF.
    pub architecture: &'static str,
    /// Names in a layer, and what GGUF calls them; both without `.weight` and `.bias`.
    pub layer: &'static [&'static [(&'static str, &'static str)]],
    /// Names of the experts' matrices.
    pub experts: Option<Experts>,
    /// Values of `hidden_act` that mean what GGUF's architecture does.
    pub activations: &'static [&'static str],
    /// Norm weights are stored less 1.
    pub norm_plus_one: bool,
    /// The LM head is always the embedding.
    pub tied: bool,
    /// Where config.json does not say.
    pub rms_epsilon: Option<f64>,
    /// Where config.json does not say.
    pub rope_base: Option<f64>,
}

const ATTENTION: [(&str, &str); 6] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
];

const GATED: [(&str, &str); 3] = [("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down")];

const PRE_NORMS: [(&str, &str); 2] = [("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")];

const LLAMA: Family = Family {
    model_type: "llama",
    architecture: "llama",
    layer: &[&ATTENTION, &GATED, &PRE_NORMS],
    experts: None,
    activations: &["silu"],
    norm_plus_one: false,
    tied: false,
    rms_epsilon: None,
    rope_base: None,
};

const GEMMA: Family = Family {
    model_type: "gemma",
    architecture: "gemma",
    activations: &["gelu", "gelu_pytorch_tanh"],
    norm_plus_one: true,
    tied: true,
    rms_epsilon: Some(1e-6),
    ..LLAMA
};

/// Norms before and behind both halves of a block.
const SANDWICH: [(&str, &str); 4] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

const MLP_EXPERTS: Experts =
    ("mlp.experts.", [(".gate_proj", "ffn_gate_exps"), (".up_proj", "ffn_up_exps"), (".down_proj", "ffn_down_exps")]);

const FAMILIES: &[Family] = &[
    LLAMA,
    Family { model_type: "mistral", ..LLAMA },
    Family { model_type: "qwen2", architecture: "qwen2", ..LLAMA },
    Family { model_type: "qwen3", architecture: "qwen3", ..LLAMA },
    GEMMA,
    Family { model_type: "gemma2", architecture: "gemma2", layer: &[&ATTENTION, &GATED, &SANDWICH], ..GEMMA },
    Family {
        model_type: "gemma3_text",
        architecture: "gemma3",
        layer: &[&ATTENTION, &GATED, &SANDWICH],
        rope_base: Some(1_000_000.0),
        ..GEMMA
    },
    Family {
        model_type: "phi3",
        architecture: "phi3",
        layer: &[
            &[("self_attn.qkv_proj", "attn_qkv"), ("self_attn.o_proj", "attn_output")],
            &[("mlp.gate_up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down")],
            &PRE_NORMS,
        ],
        ..LLAMA
    },
    Family {
        model_type: "olmo2",
        architecture: "olmo2",
        layer: &[
            &ATTENTION,
            &GATED,
            &[("post_attention_layernorm", "post_attention_norm"), ("post_feedforward_layernorm", "post_ffw_norm")],
        ],
        ..LLAMA
    },
    Family { model_type: "granite", architecture: "granite", ..LLAMA },
    Family { model_type: "smollm3", architecture: "smollm3", ..LLAMA },
    Family { model_type: "stablelm", architecture: "stablelm", ..LLAMA },
    Family {
        model_type: "qwen3_moe",
        architecture: "qwen3moe",
        layer: &[&ATTENTION, &PRE_NORMS, &[("mlp.gate", "ffn_gate_inp")]],
        experts: Some(MLP_EXPERTS),
        ..LLAMA
    },
    Family {
        model_type: "olmoe",
        architecture: "olmoe",
        layer: &[&ATTENTION, &PRE_NORMS, &[("mlp.gate", "ffn_gate_inp")]],
        experts: Some(MLP_EXPERTS),
        rms_epsilon: Some(1e-5),
        ..LLAMA
    },
    Family {
        model_type: "mixtral",
        architecture: "llama",
        layer: &[&ATTENTION, &PRE_NORMS, &[("block_sparse_moe.gate", "ffn_gate_inp")]],
        experts: Some(("block_sparse_moe.experts.", [(".w1", "ffn_gate_exps"), (".w3", "ffn_up_exps"), (".w2", "ffn_down_exps")])),
        ..LLAMA
    },
];

/// The family of a `model_type`.
pub(super) fn find(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.model_type == model_type)
}

/// The names of all, for messages.
pub(super) fn known() -> String {
    FAMILIES.iter().map(|family| family.model_type).collect::<Vec<_>>().join(", ")
}
