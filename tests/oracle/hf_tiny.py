#!/usr/bin/env python3
"""Tiny random models saved by transformers and torch, with the logits that transformers computes: what `../model_files.rs` holds Kinglet to.

    python hf_tiny.py ../data/hf

Debian's python3-torch (1.13.1) and `pip install 'numpy<2' transformers==4.46.3 safetensors tokenizers`, in a virtual environment that sees
the system's packages. The weights are BF16, so that the files are small and every reader has the same numbers; the logits are made in
float32. `llama-bin` is the same model as `llama`, pickled by torch.save.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma2Config, Gemma2ForCausalLM, GemmaConfig, GemmaForCausalLM, GenerationConfig, GraniteConfig, GraniteForCausalLM, LlamaConfig,
    LlamaForCausalLM, MistralConfig, MistralForCausalLM, MixtralConfig, MixtralForCausalLM, OlmoeConfig, OlmoeForCausalLM, Phi3Config,
    Phi3ForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, StableLmConfig, StableLmForCausalLM,
)
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

SIZES = dict(vocab_size=264, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1,
             max_position_embeddings=256, bos_token_id=256, eos_token_id=257)
SMALL = {**SIZES, "hidden_size": 24, "intermediate_size": 40}
# This version of transformers takes YaRN's original context from max_position_embeddings.
YARN = dict(rope_type="yarn", factor=4.0, attention_factor=1.3)
# Longer than the original context is the prompt, and so is the session: both take the long factors.
LONG = dict(type="longrope", short_factor=[1.0] * 4, long_factor=[1.0, 1.5, 2.5, 4.0])
LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES, rope_theta=10000.0, rope_scaling=LLAMA3)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES, tie_word_embeddings=True, rope_theta=1e6)),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config(**SIZES, head_dim=16, query_pre_attn_scalar=16, sliding_window=8)),
    "mixtral": (MixtralForCausalLM, MixtralConfig(**{**SIZES, "intermediate_size": 64}, num_local_experts=3, num_experts_per_tok=2,
                                                  sliding_window=None)),
    "yarn": (LlamaForCausalLM, LlamaConfig(**SMALL, rope_scaling=YARN)),
    "linear": (LlamaForCausalLM, LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True, rope_scaling=dict(type="linear", factor=4.0))),
    "mistral": (MistralForCausalLM, MistralConfig(**SMALL, sliding_window=8)),
    "gemma": (GemmaForCausalLM, GemmaConfig(**SMALL, head_dim=16)),
    "granite": (GraniteForCausalLM, GraniteConfig(**SMALL, embedding_multiplier=2.0, residual_multiplier=0.5, attention_multiplier=0.3,
                                                  logits_scaling=3.0)),
    "stablelm": (StableLmForCausalLM, StableLmConfig(**SMALL, use_parallel_residual=False, partial_rotary_factor=0.5, use_qkv_bias=True)),
    "olmoe": (OlmoeForCausalLM, OlmoeConfig(**SMALL, num_experts=5, num_experts_per_tok=2)),
    "phi3": (Phi3ForCausalLM, Phi3Config(**SMALL, original_max_position_embeddings=32, pad_token_id=0, rope_scaling=LONG)),
}
PROMPT = [(i * 37 + 11) % 256 for i in range(40)]


def tokenizer():
    vocab = {character: byte for byte, character in bytes_to_unicode().items()}
    base = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=base, bos_token="<|im_start|>", eos_token="<|im_end|>")
    fast.chat_template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    return fast


def build(cls, config, seed):
    torch.manual_seed(seed)
    model = cls(config).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith("norm.weight"):
                tensor.copy_(tensor + 0.2 * torch.randn_like(tensor))
            elif name.endswith("bias"):
                tensor.copy_(0.2 * torch.randn_like(tensor))
            else:
                tensor.copy_(torch.randn_like(tensor) / tensor.shape[-1] ** 0.5)
    # Rounded once; from here on nothing is lost.
    return model.to(torch.bfloat16)


def save(model, folder, **options):
    model.save_pretrained(folder, **options)
    tokenizer().save_pretrained(folder)
    GenerationConfig(bos_token_id=256, eos_token_id=[257, 258]).save_pretrained(folder)


def main():
    out = Path(sys.argv[1])
    golden = {"prompt": PROMPT, "models": {}}
    for seed, (name, (cls, config)) in enumerate(MODELS.items()):
        model = build(cls, config, seed)
        save(model, out / name, safe_serialization=True, max_shard_size="60KB" if name == "llama" else "10MB")
        if name == "llama":
            save(model, out / "llama-bin", safe_serialization=False)
        # Read again: RoPE's frequencies were rounded to BF16 with the rest.
        model = cls.from_pretrained(out / name, torch_dtype=torch.float32)
        with torch.no_grad():
            logits = model(torch.tensor([PROMPT]), use_cache=False).logits[0]
        golden["models"][name] = {"last": [round(x, 6) for x in logits[-1].tolist()], "argmax": logits.argmax(-1).tolist()}
    (out / "golden.json").write_text(json.dumps(golden) + "\n")


main()
