#!/usr/bin/env python3
"""A second opinion: the forward pass of the llama family from a GGUF file, in numpy and float32.

    forward.py MODEL run IDS [--greedy N]          top-5, logits and greedy ids after a JSON list of ids
    forward.py MODEL perplexity FILE [--tokens N]  perplexity of the first N ids of a text
    forward.py MODEL golden FILE                   compute the runs of a golden file that are this program's, check the others
    forward.py MODEL long FILE [--tokens N]        ../golden/smollm2-4096.json: what follows the first N ids of a text

With --kv-type q8_0 or q4_0 before the job, keys (turned) and values are rounded to these types' blocks when they are put away.

Weights are dequantized to float32 (package `gguf`) and everything is computed in it, the KV cache included; rotation
angles and likelihoods are float64. `run` needs numpy and gguf only; texts become ids through `tokenizers` and chats
become texts through `jinja2`, so nothing here shares code with what it judges.
"""

import argparse
import hashlib
import json
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, dequantize, quantize

ENGINE = "forward.py (numpy, float32 weights, arithmetic and KV cache)"


class Gguf:
    """A GGUF file's metadata and tensors."""

    def __init__(self, path):
        reader = GGUFReader(path)
        self.fields = reader.fields
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}

    def value(self, key, default=None):
        return self.fields[key].contents() if key in self.fields else default

    def weight(self, name):
        """A tensor as float32, rows first; None if the file has none of the name."""
        tensor = self.tensors.get(name)
        if tensor is None:
            return None
        shape = [int(n) for n in reversed(tensor.shape)]
        return np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32).reshape(shape)


class Llama:
    """A model of the llama family, and the keys and values of the tokens that it has read."""

    MATRICES = "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down".split()
    NORMS = "attn_norm ffn_norm".split()

    def __init__(self, gguf, kv_type=None):
        self.kv_type = GGMLQuantizationType[kv_type.upper()] if kv_type else None
        architecture = gguf.value("general.architecture")
        if architecture != "llama":
            raise SystemExit(f"this program knows the llama architecture, not {architecture}")

        def key(name, default=None):
            return gguf.value(f"llama.{name}", default)

        self.heads = key("attention.head_count")
        self.kv_heads = key("attention.head_count_kv", self.heads)
        self.head_dim = key("attention.key_length", key("embedding_length") // self.heads)
        self.epsilon = np.float32(key("attention.layer_norm_rms_epsilon"))
        self.frequencies = self.rope_frequencies(gguf, key)

        self.embedding = gguf.weight("token_embd.weight")
        head = gguf.weight("output.weight")
        self.head = self.embedding if head is None else head
        self.output_norm = gguf.weight("output_norm.weight")
        self.blocks = [
            {name: gguf.weight(f"blk.{layer}.{name}.weight") for name in self.MATRICES + self.NORMS}
            for layer in range(key("block_count"))
        ]
        self.forget()

    def rope_frequencies(self, gguf, key):
        rotated = key("rope.dimension_count", self.head_dim)
        pairs = np.arange(rotated // 2, dtype=np.float64)
        frequencies = key("rope.freq_base", 10000.0) ** (-2.0 * pairs / rotated)
        factors = gguf.weight("rope_freqs.weight")
        if factors is not None:
            frequencies = frequencies / factors
        scaling = key("rope.scaling.type", "none")
        if scaling == "linear":
            frequencies = frequencies / key("rope.scaling.factor")
        elif scaling != "none":
            raise SystemExit(f"RoPE scaling {scaling} is not written here")
        return frequencies

    def forget(self):
        """Empties the KV cache."""
        none = np.empty((0, self.kv_heads, self.head_dim), np.float32)
        self.cache = [(none, none) for _ in self.blocks]

    def read(self, ids):
        """Appends `ids` to what was read; returns the residual stream after the last block, (len(ids), width)."""
        start = len(self.cache[0][0])
        positions = np.arange(start, start + len(ids))
        x = self.embedding[np.asarray(ids)]
        for layer, block in enumerate(self.blocks):
            x = x + self.attention(layer, block, self.norm(x, block["attn_norm"]), positions)
            h = self.norm(x, block["ffn_norm"])
            gate = h @ block["ffn_gate"].T
            silu = gate / (1 + np.exp(-gate))
            x = x + (silu * (h @ block["ffn_up"].T)) @ block["ffn_down"].T
        return x

    def logits(self, x):
        """The residual stream through the final norm and the head."""
        return self.norm(x, self.output_norm) @ self.head.T

    def norm(self, x, weight):
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(mean_square + self.epsilon) * weight

    def rotate(self, x, positions):
        """RoPE on neighbouring pairs of x (tokens, heads, head_dim): llama GGUFs store q and k permuted for that."""
        angles = np.multiply.outer(positions, self.frequencies)[:, None, :]
        turn = (np.cos(angles) + 1j * np.sin(angles)).astype(np.complex64)
        rotated = 2 * len(self.frequencies)
        pairs = np.ascontiguousarray(x[..., :rotated]).view(np.complex64) * turn
        return np.concatenate([pairs.view(np.float32), x[..., rotated:]], axis=-1)

    def attention(self, layer, block, x, positions):
        tokens = len(x)
        q = self.rotate((x @ block["attn_q"].T).reshape(tokens, self.heads, self.head_dim), positions)
        k = self.rotate((x @ block["attn_k"].T).reshape(tokens, self.kv_heads, self.head_dim), positions)
        v = (x @ block["attn_v"].T).reshape(tokens, self.kv_heads, self.head_dim)
        if self.kv_type is not None:
            k, v = (dequantize(quantize(np.ascontiguousarray(rows), self.kv_type), self.kv_type) for rows in (k, v))
        old_k, old_v = self.cache[layer]
        k, v = np.concatenate([old_k, k]), np.concatenate([old_v, v])
        self.cache[layer] = k, v

        future = np.arange(len(k)) > positions[:, None]
        group = self.heads // self.kv_heads
        out = np.empty_like(q)
        for head in range(self.heads):
            scores = q[:, head] @ k[:, head // group].T / np.float32(np.sqrt(self.head_dim))
            scores[future] = -np.inf
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            weights /= weights.sum(axis=-1, keepdims=True)
            out[:, head] = weights @ v[:, head // group]
        return out.reshape(tokens, -1) @ block["attn_output"].T


class Text:
    """The tokenizer and the chat template of a GGUF file; byte-level BPE only."""

    DIGITS_APART = {"smollm"}

    def __init__(self, gguf):
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

        kind, pre = gguf.value("tokenizer.ggml.model"), gguf.value("tokenizer.ggml.pre")
        if kind != "gpt2" or pre not in self.DIGITS_APART:
            raise SystemExit(f"tokenizer {kind}/{pre} is not written here: give ids instead")
        pieces = gguf.value("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" ")) for merge in gguf.value("tokenizer.ggml.merges")]
        vocabulary = {piece: id for id, piece in enumerate(pieces)}
        self.plain = Tokenizer(models.BPE(vocabulary, merges))
        self.plain.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        self.plain.decoder = decoders.ByteLevel()
        self.special = Tokenizer.from_str(self.plain.to_str())
        control = [piece for piece, kind in zip(pieces, gguf.value("tokenizer.ggml.token_type")) if kind == 3]
        self.special.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in control])
        self.template = gguf.value("tokenizer.chat_template")
        self.eos = gguf.value("tokenizer.ggml.eos_token_id")

    def ids(self, text, parse_special=False):
        return (self.special if parse_special else self.plain).encode(text, add_special_tokens=False).ids

    def text(self, ids):
        return self.special.decode(ids, skip_special_tokens=False)

    def chat(self, messages):
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(self.template).render(messages=messages, add_generation_prompt=True)


def likelihoods(logits):
    """log softmax of each row, in float64."""
    logits = logits.astype(np.float64)
    most = logits.max(axis=-1, keepdims=True)
    return logits - most - np.log(np.exp(logits - most).sum(axis=-1, keepdims=True))


def summary(logits, piece):
    """What a golden file keeps of one position's logits."""
    logits = np.asarray(logits, np.float32)
    logprobs = likelihoods(logits)
    best = np.argsort(-logits, kind="stable")[:5]
    wide = logits.astype(np.float64)
    return {
        "top5_last_prompt": [
            {"id": int(id), "piece": piece(int(id)), "logit": float(logits[id]), "logprob": float(logprobs[id])} for id in best
        ],
        "logits_stats": {
            "sum": float(wide.sum()),
            "l2": float(np.sqrt((wide * wide).sum())),
            "min": float(logits.min()),
            "max": float(logits.max()),
            "argmin": int(logits.argmin()),
        },
        "logits_first16": [float(logit) for logit in logits[:16]],
    }


def greedy(first, step, count):
    """`count` greedy ids and their margins over the second best. `first`: the prompt's logits; `step(id)`: the next ones."""
    ids, margins, logits = [], [], first
    for _ in range(count):
        second, best = np.partition(logits, -2)[-2:]
        margins.append(round(float(best - second), 4))
        ids.append(int(np.argmax(logits)))
        if len(ids) < count:
            logits = step(ids[-1])
    return ids, margins


def run(model, prompt_ids, count, piece):
    """Everything that a golden file has about one prompt."""
    model.forget()
    last = model.logits(model.read(prompt_ids)[-1])
    result = summary(last, piece)
    ids, margins = greedy(last, lambda id: model.logits(model.read([id])[-1]), count)
    return result | {"greedy_ids": ids, "top1_top2_margin": margins, "min_margin": min(margins, default=None)}


def negative_log_likelihoods(model, ids):
    """−log p of ids 1… given all before, in one context."""
    model.forget()
    x = np.concatenate([model.read(ids[at : at + 500]) for at in range(0, len(ids), 500)])
    result = []
    for at in range(0, len(ids) - 1, 250):
        targets = ids[at + 1 : at + 251]
        logprobs = likelihoods(model.logits(x[at : at + len(targets)]))
        result.extend(-logprobs[np.arange(len(targets)), targets])
    return np.array(result)


def dump(value, indent=0):
    """JSON with one line for every list of plain values."""
    pad = " " * (indent + 1)
    if isinstance(value, dict) and value:
        lines = [f"{pad}{json.dumps(key)}: {dump(item, indent + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        lines = [pad + (json.dumps(item, ensure_ascii=False) if flat(item) else dump(item, indent + 1)) for item in value]
        return "[\n" + ",\n".join(lines) + "\n" + " " * indent + "]"
    return json.dumps(value, ensure_ascii=False)


def flat(value):
    return isinstance(value, dict) and not any(isinstance(item, (dict, list)) for item in value.values())


def prompt_of(entry, text):
    """Fills in an entry's prompt and ids from its messages, or from its prompt as plain text."""
    chat = "messages" in entry
    prompt = text.chat(entry["messages"]) if chat else entry["prompt"]
    entry |= {"prompt": prompt, "add_bos": False, "parse_special": chat, "prompt_ids": text.ids(prompt, chat)}
    entry["n_prompt"] = len(entry["prompt_ids"])


def worst_difference(one, other):
    """The largest difference of two summaries' logits."""
    pairs = list(zip(one["logits_first16"], other["logits_first16"]))
    pairs += [(a["logit"], b["logit"]) for a, b in zip(one["top5_last_prompt"], other["top5_last_prompt"])]
    pairs += [(one["logits_stats"][key], other["logits_stats"][key]) for key in ("min", "max")]
    return max(abs(a - b) for a, b in pairs)


def golden(model, text, path):
    with open(path, encoding="utf-8") as file:
        whole = json.load(file)
    for name, entry in whole["runs"].items():
        if entry["engine"] != ENGINE:
            ours = dict(entry)
            prompt_of(ours, text)
            ours |= run(model, entry["prompt_ids"], len(entry["greedy_ids"]), lambda id: text.text([id]))
            same = sum(a == b for a, b in zip(ours["greedy_ids"], entry["greedy_ids"]))
            margins = max(abs(a - b) for a, b in zip(ours["top1_top2_margin"], entry["top1_top2_margin"]))
            print(
                f"{name}: prompt ids {'equal' if ours['prompt_ids'] == entry['prompt_ids'] else 'DIFFER'}, "
                f"top-5 {'equal' if [t['id'] for t in ours['top5_last_prompt']] == [t['id'] for t in entry['top5_last_prompt']] else 'DIFFER'}, "
                f"logits differ by {worst_difference(ours, entry):.1e}, {same}/{len(entry['greedy_ids'])} greedy ids equal, "
                f"margins differ by {margins:.1e}"
            )
            continue
        prompt_of(entry, text)
        entry |= run(model, entry["prompt_ids"], len(entry.get("greedy_ids", [])) or 32, lambda id: text.text([id]))
        ends = [at for at, id in enumerate(entry["greedy_ids"]) if id == text.eos]
        entry |= {"greedy_text": text.text(entry["greedy_ids"]), "eog_at": ends[0] if ends else None}
        print(f"{name}: {entry['n_prompt']} ids, smallest margin {entry['min_margin']}, {entry['greedy_text']!r}")
    for entry in whole["perplexity"]:
        found = perplexity(model, text, entry["file"], entry["tokens"])
        if entry["engine"] == ENGINE:
            entry |= found
        print(f"{entry['file']}: {found['ppl']:.6f}, in the file {entry['ppl']:.6f}; of 512 {found['ppl_512']:.6f}, {entry['ppl_512']:.6f}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(dump(whole) + "\n")


def perplexity(model, text, path, count):
    with open(path, "rb") as file:
        raw = file.read()
    ids = text.ids(raw.decode())[:count]
    losses = negative_log_likelihoods(model, ids)
    return {
        "file_sha256": hashlib.sha256(raw).hexdigest(),
        "tokens": len(ids),
        "ids_sha256": hashlib.sha256(json.dumps(ids).encode()).hexdigest(),
        "mean_nll": float(losses.mean()),
        "ppl": float(np.exp(losses.mean())),
        "ppl_512": float(np.exp(losses[:511].mean())),
    }


def long(model, text, path, count):
    """What a golden file has about a long prompt, but not the prompt, and the likelihood of its end."""
    with open(path, "rb") as file:
        raw = file.read()
    ids = text.ids(raw.decode())[:count]
    model.forget()
    for at in range(0, count, 512):
        x = model.read(ids[at : at + 512])
    logits = model.logits(x[-64:])
    losses = -likelihoods(logits[:-1])[np.arange(63), ids[-63:]]
    greedy_ids, margins = greedy(logits[-1], lambda id: model.logits(model.read([id])[-1]), 16)
    return {
        "engine": ENGINE,
        "file": path,
        "file_sha256": hashlib.sha256(raw).hexdigest(),
        "tokens": len(ids),
        "ids_sha256": hashlib.sha256(json.dumps(ids).encode()).hexdigest(),
        "ppl_last_63": float(np.exp(losses.mean())),
        **summary(logits[-1], lambda id: text.text([id])),
        "greedy_ids": greedy_ids,
        "top1_top2_margin": margins,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--kv-type", choices=["q8_0", "q4_0"])
    jobs = parser.add_subparsers(dest="job", required=True)
    job = jobs.add_parser("run")
    job.add_argument("ids", type=json.loads)
    job.add_argument("--greedy", type=int, default=0)
    job = jobs.add_parser("perplexity")
    job.add_argument("file")
    job.add_argument("--tokens", type=int, default=2000)
    job = jobs.add_parser("long")
    job.add_argument("file")
    job.add_argument("--tokens", type=int, default=4096)
    job = jobs.add_parser("golden")
    job.add_argument("file")
    options = parser.parse_args()

    gguf = Gguf(options.model)
    model = Llama(gguf, options.kv_type)
    if options.job == "run":
        pieces = gguf.value("tokenizer.ggml.tokens")
        print(dump(run(model, options.ids, options.greedy, lambda id: pieces[id])))
    elif options.job == "perplexity":
        print(dump(perplexity(model, Text(gguf), options.file, options.tokens)))
    elif options.job == "long":
        print(dump(long(model, Text(gguf), options.file, options.tokens)))
    else:
        golden(model, Text(gguf), options.file)


if __name__ == "__main__":
    sys.exit(main())
