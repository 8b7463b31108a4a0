#!/usr/bin/env python3
"""A second opinion on ../golden/families/: every golden's forward pass in numpy and float64.

    check_families.py [NAME]...     all goldens, or the named ones

Reads a golden's metadata and tensor list, makes the weights, and prints the largest difference of the logits and whether
the greedy ids are the same. Written from FAMILIES.md, on other principles than llama.cpp (no cache, whole matrices).
"""

import base64
import json
import math
import pathlib
import sys

import numpy as np
import tinymodel

HALF_SPLIT = """qwen qwen2 qwen3 qwen3moe qwen2moe gemma gemma2 gemma3 phi2 phi3 stablelm olmo2 olmoe falcon gptneox
    gpt-oss exaone exaone4 orion starcoder2 nemotron""".split()
NO_ROPE = "gpt2 bloom mpt starcoder".split()
PARALLEL = "phi2 falcon command-r cohere2".split()
NORMED_EXPERTS = "llama qwen3moe granitemoe".split()
PATTERNS = {"gemma2": 2, "gemma3": 6, "gpt-oss": 2, "cohere2": 4}


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Model:
    def __init__(self, golden):
        self.keys = {key: value for key, _, value in golden["metadata"]}
        self.arch = self.keys["general.architecture"]
        self.tensors = {name: tinymodel.values(name, *rest).astype(np.float64) for name, *rest in golden["tensors"]}
        self.width, self.layers, self.heads = (
            self.key("embedding_length"),
            self.key("block_count"),
            self.key("attention.head_count"),
        )
        self.kv_heads = self.key("attention.head_count_kv", self.heads)
        self.head_dim = self.key("attention.key_length", self.width // self.heads)
        self.window = self.key("attention.sliding_window", 0)
        self.gated = gelu if self.arch.startswith("gemma") else silu

    def key(self, name, default=None):
        value = self.keys.get(f"{self.arch}.{name}", default)
        return float(np.float32(value)) if isinstance(value, float) else value

    def get(self, name):
        return self.tensors.get(name)

    def norm(self, x, name):
        """RMSNorm or LayerNorm by which epsilon the file has; None if it lacks the tensor (OLMo has norms without)."""
        weight = self.get(f"{name}.weight")
        if self.arch == "olmo" and name.endswith(("attn_norm", "ffn_norm", "output_norm")):
            weight = 1.0
        if weight is None:
            return None
        rms = self.key("attention.layer_norm_rms_epsilon")
        if rms is None:
            x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + (rms or self.key("attention.layer_norm_epsilon")))
        bias = self.get(f"{name}.bias")
        return x * weight + (0 if bias is None else bias)

    def linear(self, x, name):
        bias = self.get(f"{name}.bias")
        return x @ self.tensors[f"{name}.weight"].T + (0 if bias is None else bias)

    def windowed(self, layer):
        if not self.window:
            return False
        pattern = self.key("attention.sliding_window_pattern", PATTERNS.get(self.arch, 0))
        return pattern[layer] if isinstance(pattern, list) else pattern == 0 or layer % pattern < pattern - 1

    def turned(self, layer):
        if self.arch == "baichuan":
            return self.layers == 32
        if self.arch == "cohere2":
            return self.windowed(layer)
        return self.arch not in NO_ROPE and not (self.arch == "smollm3" and layer % 4 == 3)

    def rope(self, x, layer):
        """x is (tokens, heads, head_dim)."""
        dims, base = self.key("rope.dimension_count", self.head_dim), self.key("rope.freq_base", 10000.0)
        factor, kind = self.key("rope.scaling.factor", 1.0), self.key("rope.scaling.type", "linear")
        context = self.key("rope.scaling.original_context_length", self.key("context_length"))
        if self.arch == "gemma3" and self.windowed(layer):
            base, factor = self.key("rope.freq_base_swa", 10000.0), 1.0
        pairs = np.arange(dims // 2)
        angles, size = base ** (-2.0 * pairs / dims), self.key("rope.scaling.attn_factor", 1.0)
        factors = self.get("rope_freqs.weight")
        if factors is None:
            factors = self.get("rope_factors_long.weight" if 512 > context else "rope_factors_short.weight")
        if factors is not None:
            angles = angles / factors
        if kind == "yarn":
            betas = self.key("rope.scaling.yarn_beta_fast", 32.0), self.key("rope.scaling.yarn_beta_slow", 1.0)
            low, high = (dims * math.log(context / (beta * 2 * math.pi)) / (2 * math.log(base)) for beta in betas)
            low, high = max(0, math.floor(low)), min(dims - 1, math.ceil(high))
            ramp = 1 - np.clip((pairs - low) / max(0.001, high - low), 0, 1)
            angles, size = angles * (ramp + (1 - ramp) / factor), size * (1 + 0.1 * math.log(factor))
            size /= 1 + 0.1 * self.key("rope.scaling.yarn_log_multiplier", 0.0) * math.log(factor)
        else:
            angles = angles / factor
        angles = np.multiply.outer(np.arange(len(x)), angles)[:, None]
        cos, sin = size * np.cos(angles), size * np.sin(angles)
        first, second = (
            (slice(0, dims // 2), slice(dims // 2, dims)) if self.arch in HALF_SPLIT else (slice(0, dims, 2), slice(1, dims, 2))
        )
        y = x.copy()
        y[..., first] = x[..., first] * cos - x[..., second] * sin
        y[..., second] = x[..., first] * sin + x[..., second] * cos
        return y

    def slopes(self):
        most = (
            8.0
            if self.arch == "bloom" or (self.arch == "baichuan" and self.layers == 40)
            else self.key("attention.max_alibi_bias", 0.0)
        )
        whole = 1 << (self.heads.bit_length() - 1)
        return [
            (2 ** (-most * (head + 1) / whole) if head < whole else 2 ** (-most * (2 * (head - whole) + 1) / (2 * whole)))
            if most
            else 0.0
            for head in range(self.heads)
        ]

    def attention(self, x, layer):
        at, tokens, q_dim, kv_dim = f"blk.{layer}.", len(x), self.heads * self.head_dim, self.kv_heads * self.head_dim
        if f"{at}attn_qkv.weight" in self.tensors:
            q, k, v = np.split(self.linear(x, f"{at}attn_qkv"), [q_dim, q_dim + kv_dim], axis=1)
        else:
            q, k, v = (self.linear(x, f"{at}attn_{which}") for which in "qkv")
        if clamp := self.key("attention.clamp_kqv", 0.0):
            q, k, v = (np.clip(part, -clamp, clamp) for part in (q, k, v))
        wide = self.arch in ("olmo2", "olmoe")
        if wide:
            q, k = self.norm(q, f"{at}attn_q_norm"), self.norm(k, f"{at}attn_k_norm")
        q, k, v = (part.reshape(tokens, -1, self.head_dim) for part in (q, k, v))
        if not wide and f"{at}attn_q_norm.weight" in self.tensors:
            q, k = self.norm(q, f"{at}attn_q_norm"), self.norm(k, f"{at}attn_k_norm")
        if self.turned(layer):
            q, k = self.rope(q, layer), self.rope(k, layer)
        if temperature := self.key("attention.temperature_scale", 0.0):
            spans = np.floor(np.arange(tokens) / self.key("rope.scaling.original_context_length"))
            q *= (temperature * np.log(spans + 1) + 1)[:, None, None]
        sinks = self.get(f"{at}attn_sinks.weight")
        scale = self.key("attention.scale", 0.0) or 1 / math.sqrt(self.head_dim)
        back = np.arange(tokens)[:, None] - np.arange(tokens)
        hidden = (back < 0) | ((back >= self.window) if self.windowed(layer) else False)
        out = np.empty_like(q)
        for head, slope in enumerate(self.slopes()):
            kv = head * self.kv_heads // self.heads
            scores = q[:, head] @ k[:, kv].T * scale
            if self.arch == "gemma2":
                cap = self.key("attn_logit_softcapping", 50.0)
                scores = cap * np.tanh(scores / cap)
            scores = np.where(hidden, -np.inf, scores - slope * back)
            if sinks is not None:
                scores = np.concatenate([scores, np.full((tokens, 1), sinks[head])], axis=1)
            out[:, head] = softmax(scores)[:, :tokens] @ v[:, kv]
        return self.linear(out.reshape(tokens, -1), f"{at}attn_output")

    def ffn(self, x, layer):
        at = f"blk.{layer}."
        if f"{at}ffn_gate_inp.weight" in self.tensors:
            return self.experts(x, at)
        up = self.linear(x, f"{at}ffn_up")
        if f"{at}ffn_gate.weight" in self.tensors:
            h = self.gated(self.linear(x, f"{at}ffn_gate")) * up
        elif self.arch in ("chatglm", "glm4", "phi3"):
            gate, up = np.split(up, 2, axis=1)
            h = silu(gate) * up
        else:
            h = np.maximum(up, 0) ** 2 if self.arch == "nemotron" else gelu(up)
        return self.linear(h, f"{at}ffn_down")

    def experts(self, x, at):
        scores = self.linear(x, f"{at}ffn_gate_inp")
        chances = softmax(scores)
        gate, up, down = (self.tensors[f"{at}ffn_{which}_exps.weight"] for which in ("gate", "up", "down"))
        gate_b, up_b, down_b = (
            self.tensors.get(f"{at}ffn_{which}_exps.bias", np.zeros(len(gate))) for which in ("gate", "up", "down")
        )
        out = np.zeros_like(x)
        for token, row in enumerate(x):
            chosen = np.argsort(-scores[token])[: self.key("expert_used_count")]
            weights = chances[token, chosen]
            if self.arch in NORMED_EXPERTS or self.arch == "gpt-oss":
                weights = weights / weights.sum()
            for weight, expert in zip(weights * self.key("expert_weights_scale", 1.0), chosen):
                a, b = gate[expert] @ row + gate_b[expert], up[expert] @ row + up_b[expert]
                if self.arch == "gpt-oss":
                    a = np.minimum(a, 7)
                    h = a / (1 + np.exp(-1.702 * a)) * (np.clip(b, -7, 7) + 1)
                else:
                    h = silu(a) * b
                out[token] += weight * (down[expert] @ h + down_b[expert])
        if f"{at}ffn_gate_shexp.weight" in self.tensors:
            shared = silu(self.linear(x, f"{at}ffn_gate_shexp")) * self.linear(x, f"{at}ffn_up_shexp")
            shared = self.linear(shared, f"{at}ffn_down_shexp")
            opening = self.get(f"{at}ffn_gate_inp_shexp.weight")
            out += shared if opening is None else shared / (1 + np.exp(-(x @ opening)))[:, None]
        return out

    def block(self, x, layer):
        at = f"blk.{layer}."

        def after(y, name):
            normed = self.norm(y, f"{at}{name}")
            return self.key("residual_scale", 1.0) * (y if normed is None else normed)

        h = self.norm(x, f"{at}attn_norm")
        h = x if h is None else h
        second = self.norm(x, f"{at}attn_norm_2")
        attended = self.attention(h if second is None else second, layer)
        if self.arch == "gpt-oss":  # the name of its norm before the FFN
            x = x + attended
            return x + self.ffn(self.norm(x, f"{at}post_attention_norm"), layer)
        attended = after(attended, "post_attention_norm")
        if self.arch in PARALLEL or (self.arch == "stablelm" and f"{at}ffn_norm.weight" not in self.tensors):
            return x + attended + self.ffn(h, layer)
        if self.arch == "gptneox" and self.key("use_parallel_residual"):
            return x + attended + self.ffn(self.norm(x, f"{at}ffn_norm"), layer)
        x = x + attended
        h = self.norm(x, f"{at}ffn_norm")
        return x + after(self.ffn(x if h is None else h, layer), "post_ffw_norm")

    def logits(self, ids):
        x = self.tensors["token_embd.weight"][ids] * self.key("embedding_scale", 1.0)
        if self.arch.startswith("gemma"):
            x *= math.sqrt(self.width)
        if "position_embd.weight" in self.tensors:
            x += self.tensors["position_embd.weight"][: len(ids)]
        if "token_embd_norm.weight" in self.tensors:
            x = self.norm(x, "token_embd_norm")
        for layer in range(self.layers):
            x = self.block(x, layer)
        x = self.norm(x, "output_norm")
        x = self.linear(x, "output") if "output.weight" in self.tensors else x @ self.tensors["token_embd.weight"].T
        if self.arch in ("granite", "granitemoe", "minicpm"):
            x /= self.key("logit_scale")
        elif self.arch in ("command-r", "cohere2"):
            x *= self.key("logit_scale")
        cap = self.key("final_logit_softcapping", 30.0 if self.arch == "gemma2" else 0.0)
        return cap * np.tanh(x / cap) if cap else x


def main(names):
    folder = pathlib.Path(__file__).parent.parent / "golden" / "families"
    for path in [folder / f"{name}.json" for name in names] or sorted(folder.glob("*.json")):
        golden = json.loads(path.read_text(encoding="utf-8"))
        theirs = np.frombuffer(base64.b64decode(golden["logits"]), "<f4").reshape(40, golden["vocab"])
        ours = Model(golden).logits(golden["prompt"] + golden["greedy"][:-1])
        ids = ours[39:].argmax(axis=1)
        first, second = np.sort(ours[39:], axis=1)[:, :-3:-1].T
        print(
            f"{golden['name']:20} largest difference {np.abs(ours[:40] - theirs).max():.1e}, "
            f"greedy {(ids == golden['greedy']).sum()}/32, margins {np.abs(first - second - golden['margins']).max():.1e}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
