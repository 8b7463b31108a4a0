"""The table of families: which keys and tensors a tiny model of each has. See tinymodel.Family for the notation."""

from tinymodel import Family

# Tensors outside of the blocks, and the parts of a block.
HEAD = "token_embd.weight E V, output_norm.weight E, output.weight E V,"
TIED = "token_embd.weight E V, output_norm.weight E,"
QKV = "attn_q.weight E Q, attn_k.weight E K, attn_v.weight E K,"
QKV_BIAS = "attn_q.bias Q, attn_k.bias K, attn_v.bias K,"
FUSED = "attn_qkv.weight E A,"
OUT = "attn_output.weight Q E,"
ATTN = "attn_norm.weight E," + QKV + OUT
GATED = "ffn_gate.weight E F, ffn_up.weight E F, ffn_down.weight F E,"
PLAIN = "ffn_up.weight E F, ffn_down.weight F E,"
MLP = "ffn_norm.weight E," + GATED
QK_NORM = "attn_q_norm.weight H, attn_k_norm.weight H,"
WIDE_QK_NORM = "attn_q_norm.weight Q, attn_k_norm.weight K,"
POST_NORMS = "post_attention_norm.weight E, post_ffw_norm.weight E,"
EXPERTS = "ffn_gate_inp.weight E X, ffn_gate_exps.weight E P X, ffn_up_exps.weight E P X, ffn_down_exps.weight P E X,"
SHARED = "ffn_gate_shexp.weight E S, ffn_up_shexp.weight E S, ffn_down_shexp.weight S E,"

# The same with biases, for the families of LayerNorm.
B_HEAD = "token_embd.weight E V, output_norm.weight E, output_norm.bias E, output.weight E V,"
B_TIED = "token_embd.weight E V, output_norm.weight E, output_norm.bias E,"
B_NORM = "attn_norm.weight E, attn_norm.bias E,"
B_OUT = OUT + "attn_output.bias E,"
B_PLAIN = PLAIN + "ffn_up.bias F, ffn_down.bias E,"
B_MLP = "ffn_norm.weight E, ffn_norm.bias E," + B_PLAIN
B_FUSED = FUSED + "attn_qkv.bias A,"

# An epsilon large enough to show.
RMS = {"attention.layer_norm_rms_epsilon": 1e-3}
LAYER = {"attention.layer_norm_epsilon": 1e-3}


def rope(dims, base=10000.0):
    return {"rope.dimension_count": dims, "rope.freq_base": base}


def scaling(kind, factor, original=None):
    keys = {"rope.scaling.type": kind, "rope.scaling.factor": factor}
    return keys | ({"rope.scaling.original_context_length": original} if original else {})


def experts(count, used):
    return {"expert_count": count, "expert_used_count": used}


def longrope(original, attn_factor):
    """LongRoPE's keys: `original` < 512 chooses the long factors, as the context of the run is 512."""
    keys = {"rope.scaling.original_context_length": original, "rope.scaling.attn_factor": attn_factor}
    return {"context_length": 4096} | keys


def llama(name, sizes, outer=HEAD, block=ATTN + MLP, keys=None, arch="llama", **more):
    """The graph that most families differ from."""
    return Family(name, arch, sizes, outer, block, RMS | rope(sizes["H"]) | (keys or {}), **more)


SMALL = {"E": 64, "N": 5, "H": 16, "F": 88, "V": 97}
GROUPED = {"E": 64, "N": 6, "M": 2, "H": 16, "F": 88, "V": 101}
SQUARE = {"E": 96, "N": 6, "M": 2, "H": 16, "F": 88, "V": 99}  # E = N H, where the family demands it
NEOX = {"E": 96, "N": 3, "H": 32, "F": 104, "V": 97}
CLASSIC = {"E": 96, "N": 6, "H": 16, "F": 104, "V": 98}
STRONG = {"attn_output": 3.0, "ffn_up": 2.5, "ffn_down": 4.0}  # against an embedding that is also the head and would predict itself
LOUD_NORMS = {"post_attention_norm": (4.5, 0.5), "post_ffw_norm": (8.0, 0.5)}
DEEP = {"attn_output": 0.3, "ffn_down": 0.4}

PHI3 = "attn_norm.weight E," + FUSED + OUT + "ffn_norm.weight E, ffn_up.weight E G, ffn_down.weight F E,"
LONGROPE = "rope_factors_long.weight 8, rope_factors_short.weight 8,"
FACTORS = {"rope_factors_long": (3.0, 2.0), "rope_factors_short": (1.2, 0.2)}

FAMILIES = [
    llama("llama", {"E": 72, "N": 3, "H": 24, "F": 104, "V": 97}),
    llama("llama-gqa", GROUPED | {"L": 3}, TIED, keys=rope(16, 500000.0)),
    llama("llama-70b-shape", {"E": 512, "N": 64, "M": 8, "H": 8, "F": 96, "V": 96}),
    llama("llama-rope-factors", GROUPED, HEAD + "rope_freqs.weight 8,", fixed={"rope_freqs": (4.5, 3.5)}),
    llama("llama-linear", SMALL, keys=scaling("linear", 4.0)),
    llama("llama-yarn", SMALL, keys=scaling("yarn", 4.0, 2048) | {"context_length": 8192}),
    llama(
        "llama-bias",
        GROUPED,
        block=ATTN + QKV_BIAS + "attn_output.bias E," + MLP + "ffn_gate.bias F, ffn_up.bias F, ffn_down.bias E,",
    ),
    llama(
        "mistral-window",
        GROUPED,
        keys={"attention.sliding_window": 13},
        # llama.cpp's `llama` does not know the window; its `granite_swa` is the same graph with it, and with sinks,
        # which vanish when they are very negative.
        run_as=(
            "granite_swa",
            RMS | rope(16) | {"attention.sliding_window": 13, "attention.sliding_window_pattern": [True, True], "logit_scale": 1.0},
            [[f"blk.{layer}.attn_sinks.weight", [6], -10000.0, 0.0] for layer in range(2)],
        ),
    ),
    llama("smollm3", GROUPED | {"L": 4}, TIED, arch="smollm3"),
    llama(
        "granite",
        GROUPED,
        TIED,
        arch="granite",
        gain=STRONG | {"output": 10.0},
        keys={"attention.scale": 0.15, "embedding_scale": 0.7, "residual_scale": 0.6, "logit_scale": 4.0},
    ),
    llama("internlm2", SQUARE, arch="internlm2"),
    llama("mixtral", GROUPED | {"X": 5, "P": 40, "F": 40}, block=ATTN + "ffn_norm.weight E," + EXPERTS, keys=experts(5, 2)),
    Family(
        "qwen",
        "qwen",
        {"E": 80, "N": 5, "H": 16, "F": 48, "V": 98},
        HEAD,
        "attn_norm.weight E," + B_FUSED + OUT + MLP,
        RMS | rope(16) | {"feed_forward_length": 96},
    ),
    Family("qwen2", "qwen2", SQUARE, TIED, ATTN + QKV_BIAS + MLP, RMS | {"rope.freq_base": 1e6}),
    Family("qwen3", "qwen3", GROUPED | {"M": 3}, TIED, ATTN + QK_NORM + MLP, RMS | {"rope.freq_base": 1e6}),
    Family(
        "qwen3moe",
        "qwen3moe",
        GROUPED | {"X": 7, "P": 24},
        HEAD,
        ATTN + QK_NORM + "ffn_norm.weight E," + EXPERTS,
        RMS | {"rope.freq_base": 1e6, "expert_feed_forward_length": 24} | experts(7, 3),
    ),
    Family(
        "qwen2moe",
        "qwen2moe",
        SQUARE | {"X": 5, "P": 24, "S": 56},
        HEAD,
        ATTN + QKV_BIAS + "ffn_norm.weight E, ffn_gate_inp_shexp.weight E," + EXPERTS + SHARED,
        RMS | {"rope.freq_base": 1e6, "expert_feed_forward_length": 24, "expert_shared_feed_forward_length": 56} | experts(5, 2),
    ),
    Family(
        "chatglm",
        "chatglm",
        SQUARE,
        HEAD,
        "attn_norm.weight E," + B_FUSED + OUT + "ffn_norm.weight E, ffn_up.weight E G, ffn_down.weight F E,",
        RMS | rope(8),
    ),
    Family(
        "glm4",
        "glm4",
        GROUPED,
        HEAD,
        ATTN + QKV_BIAS + POST_NORMS + "ffn_norm.weight E, ffn_up.weight E G, ffn_down.weight F E,",
        RMS | rope(8),
    ),
    Family(
        "gemma",
        "gemma",
        {"E": 64, "N": 3, "M": 1, "H": 24, "F": 88, "V": 97},
        TIED,
        ATTN + MLP,
        RMS,
        gain=STRONG | {"attn_output": 1.0},
    ),
    Family(
        "gemma2",
        "gemma2",
        GROUPED | {"L": 3},
        TIED,
        ATTN + POST_NORMS + MLP,
        RMS | {"attention.sliding_window": 12, "attn_logit_softcapping": 4.0, "final_logit_softcapping": 6.0},
        fixed=LOUD_NORMS,
    ),
    Family(
        "gemma3",
        "gemma3",
        GROUPED | {"M": 3, "L": 7},
        TIED,
        ATTN + QK_NORM + POST_NORMS + MLP,
        RMS | {"rope.freq_base": 1e6, "attention.sliding_window": 12},
        fixed=LOUD_NORMS,
    ),
    Family(
        "gemma3-linear",
        "gemma3",
        GROUPED | {"L": 3},
        TIED,
        ATTN + QK_NORM + POST_NORMS + MLP,
        RMS
        | {"rope.freq_base": 1e6, "attention.sliding_window": 15, "attention.sliding_window_pattern": 2}
        | scaling("linear", 8.0),
        fixed=LOUD_NORMS,
    ),
    Family(
        "phi2",
        "phi2",
        {"E": 72, "N": 3, "H": 24, "F": 104, "V": 99},
        B_HEAD + "output.bias V,",
        B_NORM + QKV + QKV_BIAS + B_OUT + B_PLAIN,
        LAYER | {"rope.dimension_count": 12},
    ),
    Family("phi3", "phi3", SQUARE, HEAD, PHI3, RMS | rope(16)),
    Family(
        "phi3-longrope",
        "phi3",
        SQUARE,
        HEAD + LONGROPE,
        PHI3,
        RMS | rope(16) | longrope(128, 1.19),
        fixed=FACTORS,
    ),
    Family(
        "phi3-shortrope",
        "phi3",
        SQUARE,
        HEAD + LONGROPE,
        PHI3,
        RMS | rope(16) | longrope(1024, 1.095),
        fixed=FACTORS,
    ),
    Family(
        "stablelm",
        "stablelm",
        {"E": 96, "N": 3, "H": 32, "F": 72, "V": 98},
        B_HEAD,
        B_NORM + QKV + QKV_BIAS + OUT + "ffn_norm.weight E, ffn_norm.bias E," + GATED,
        LAYER | {"rope.dimension_count": 8, "use_parallel_residual": True},
    ),
    Family(
        "stablelm-parallel",
        "stablelm",
        {"E": 96, "N": 3, "M": 1, "H": 32, "F": 72, "V": 98},
        B_HEAD,
        B_NORM + QKV + OUT + "attn_q_norm.weight H N, attn_k_norm.weight H M," + GATED,
        LAYER | {"rope.dimension_count": 8, "use_parallel_residual": True},
    ),
    Family("olmo2", "olmo2", SQUARE, HEAD, QKV + OUT + WIDE_QK_NORM + POST_NORMS + GATED, RMS | {"rope.freq_base": 500000.0}),
    Family(
        "olmoe",
        "olmoe",
        {"E": 80, "N": 5, "H": 16, "F": 24, "V": 97, "X": 7, "P": 24},
        HEAD,
        ATTN + WIDE_QK_NORM + "ffn_norm.weight E," + EXPERTS,
        RMS | {"rope.freq_base": 10000.0} | experts(7, 3),
    ),
    Family(
        "falcon-7b",
        "falcon",
        {"E": 80, "N": 5, "M": 1, "H": 16, "F": 112, "V": 97},
        B_TIED,
        B_NORM + FUSED + OUT + PLAIN,
        LAYER,
        gain=STRONG,
    ),
    Family(
        "falcon-40b", "falcon", SQUARE, B_HEAD, B_NORM + "attn_norm_2.weight E, attn_norm_2.bias E," + FUSED + OUT + PLAIN, LAYER
    ),
    Family(
        "gptneox",
        "gptneox",
        NEOX,
        B_HEAD,
        B_NORM + B_FUSED + B_OUT + B_MLP,
        LAYER | {"rope.dimension_count": 8, "use_parallel_residual": True},
    ),
    Family(
        "gptneox-serial",
        "gptneox",
        NEOX,
        B_HEAD,
        B_NORM + B_FUSED + B_OUT + B_MLP,
        LAYER | {"rope.dimension_count": 16, "use_parallel_residual": False},
    ),
    Family("gpt2", "gpt2", CLASSIC, B_TIED + "position_embd.weight E 512,", B_NORM + B_FUSED + B_OUT + B_MLP, LAYER),
    Family(
        "bloom",
        "bloom",
        CLASSIC,
        B_TIED + "token_embd_norm.weight E, token_embd_norm.bias E,",
        B_NORM + B_FUSED + B_OUT + B_MLP,
        LAYER,
        gain=STRONG,
    ),
    # llama.cpp knows the sizes of Baichuan by their layers: 32 turn, 40 have ALiBi.
    Family(
        "baichuan-7b", "baichuan", {"E": 24, "N": 3, "H": 8, "F": 40, "V": 96, "L": 32}, HEAD, ATTN + MLP, RMS | rope(8), gain=DEEP
    ),
    Family(
        "baichuan-13b", "baichuan", {"E": 40, "N": 5, "H": 8, "F": 48, "V": 96, "L": 40}, HEAD, ATTN + MLP, RMS | rope(8), gain=DEEP
    ),
    Family(
        "mpt",
        "mpt",
        {"E": 80, "N": 5, "H": 16, "F": 112, "V": 98},
        TIED,
        "attn_norm.weight E," + FUSED + OUT + "ffn_norm.weight E," + PLAIN,
        LAYER | {"attention.max_alibi_bias": 8.0, "attention.clamp_kqv": 1.5},
        gain=STRONG,
    ),
    # Beyond the common ones.
    llama(
        "mistral3",
        GROUPED,
        TIED,
        arch="mistral3",
        keys=scaling("yarn", 4.0, 16)
        | {
            "rope.scaling.yarn_beta_fast": 4.0,
            "rope.scaling.yarn_beta_slow": 0.25,
            "rope.scaling.yarn_log_multiplier": 0.7,
            "attention.temperature_scale": 0.5,
        },
    ),
    llama(
        "granitemoe",
        GROUPED | {"X": 5, "P": 40, "F": 40, "S": 24},
        TIED,
        ATTN + "ffn_norm.weight E," + EXPERTS + SHARED,
        keys={"attention.scale": 0.15, "embedding_scale": 0.7, "residual_scale": 0.6, "logit_scale": 4.0}
        | {"expert_shared_feed_forward_length": 24}
        | experts(5, 2),
        arch="granitemoe",
        gain=STRONG | {"output": 10.0, "ffn_up_exps": 2.5, "ffn_down_exps": 4.0, "ffn_down_shexp": 4.0},
    ),
    llama(
        "minicpm",
        GROUPED,
        TIED,
        arch="minicpm",
        gain=STRONG | {"output": 5.0},
        keys={"embedding_scale": 1.5, "residual_scale": 0.7, "logit_scale": 2.0},
    ),
    Family(
        "deepseek",
        "deepseek",
        SQUARE | {"L": 3, "X": 7, "P": 24, "S": 48},
        HEAD,
        (ATTN + MLP, ATTN + "ffn_norm.weight E," + EXPERTS + SHARED),
        RMS
        | rope(16)
        | {
            "leading_dense_block_count": 1,
            "expert_feed_forward_length": 24,
            "expert_shared_count": 2,
            "expert_weights_scale": 1.5,
        }
        | experts(7, 3),
    ),
    Family(
        "gpt-oss",
        "gpt-oss",
        GROUPED | {"X": 5, "P": 24, "L": 3},
        HEAD,
        ATTN
        + QKV_BIAS
        + "attn_output.bias E, attn_sinks.weight N, post_attention_norm.weight E,"
        + EXPERTS
        + "ffn_gate_inp.bias X, ffn_gate_exps.bias P X, ffn_up_exps.bias P X, ffn_down_exps.bias E X,",
        RMS
        | rope(16, 150000.0)
        | scaling("yarn", 8.0, 1024)
        | experts(5, 3)
        | {"context_length": 8192, "attention.sliding_window": 12, "expert_feed_forward_length": 24},
        fixed={"attn_sinks": (1.0, 1.0)},
    ),
    Family(
        "olmo",
        "olmo",
        {"E": 80, "N": 5, "H": 16, "F": 88, "V": 97},
        "token_embd.weight E V,",
        QKV + OUT + GATED,
        LAYER | rope(16) | {"attention.clamp_kqv": 1.5},
        gain={"ffn_down": 4.0},
    ),
    Family(
        "exaone", "exaone", GROUPED, HEAD + "rope_freqs.weight 8,", ATTN + MLP, RMS | rope(16), fixed={"rope_freqs": (4.5, 3.5)}
    ),
    Family("exaone4", "exaone4", SQUARE, TIED, QKV + OUT + QK_NORM + POST_NORMS + GATED, RMS | rope(16), gain={"output": 1.5}),
    Family("orion", "orion", SQUARE, B_HEAD, B_NORM + QKV + OUT + "ffn_norm.weight E, ffn_norm.bias E," + GATED, LAYER | rope(16)),
    Family(
        "starcoder2",
        "starcoder2",
        SQUARE,
        B_TIED,
        B_NORM + QKV + QKV_BIAS + B_OUT + B_MLP,
        LAYER | rope(16),
        gain={"ffn_down": 4.0},
    ),
    Family(
        "starcoder",
        "starcoder",
        {"E": 80, "N": 5, "M": 1, "H": 16, "F": 104, "V": 97},
        B_TIED + "position_embd.weight E 512,",
        B_NORM + B_FUSED + B_OUT + B_MLP,
        LAYER,
        gain=STRONG,
    ),
    Family(
        "nemotron", "nemotron", SQUARE, B_HEAD, B_NORM + QKV + OUT + "ffn_norm.weight E, ffn_norm.bias E," + PLAIN, LAYER | rope(8)
    ),
    Family(
        "command-r",
        "command-r",
        SQUARE,
        TIED,
        "attn_norm.weight E," + QKV + OUT + GATED,
        LAYER | rope(16) | {"logit_scale": 0.5},
        gain=STRONG | {"attn_output": 8.0, "output": 5.0},
    ),
    Family(
        "cohere2",
        "cohere2",
        SQUARE | {"L": 4},
        TIED,
        "attn_norm.weight E," + QKV + OUT + GATED,
        LAYER | rope(16) | {"logit_scale": 0.5, "attention.sliding_window": 12},
        gain=STRONG | {"output": 5.0},
    ),
]
