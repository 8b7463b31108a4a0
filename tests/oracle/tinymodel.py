"""Tiny models with made-up weights: a table's entry becomes GGUF metadata and tensors.

Weights are not stored anywhere; whoever needs them makes them again from a tensor's name:

    value(name, i) = f32(center + spread * u)       computed in f64 and rounded once
    u = 2 * k / 2^24 - 1,  k = the top 24 bits of mix(fnv1a64(name) + (i + 1) * 0x9E3779B97F4A7C15)
    fnv1a64 over the name's UTF-8 bytes; mix is splitmix64's: z ^= z >> 30, z *= 0xBF58476D1CE4E5B9,
    z ^= z >> 27, z *= 0x94D049BB133111EB, z ^= z >> 31; all in wrapping u64
    i = the element's index in the tensor's memory order (ggml's first dimension runs fastest)

Spreads are such that the residual stream stays around 1, scores before the softmax vary by two or so (attention is
neither uniform nor one-hot) and logits by two or three; biases and norm weights are far enough from 0 and 1 for a
forgotten one to show.
"""

import math
from dataclasses import dataclass, field

import gguf
import numpy as np

GOLDEN_GAMMA = 0x9E3779B97F4A7C15
U64 = 2**64


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % U64
    return value


def draws(name, count):
    """The top 24 bits of the first `count` draws of a name."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN_GAMMA) + np.uint64(fnv1a64(name))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) >> np.uint64(40)


def values(name, dims, center, spread):
    """A tensor, in numpy's order of dimensions (the reverse of ggml's)."""
    u = 2.0 * draws(name, math.prod(dims)).astype(np.float64) / 2.0**24 - 1.0
    return (center + spread * u).astype(np.float32).reshape(dims[::-1])


# How strongly a matrix answers an input of unit size, by the tensor's short name; others 1.2.
GAIN = {"attn_q": 1.4, "attn_k": 1.4, "attn_qkv": 1.3, "attn_v": 1.0, "attn_output": 1.0, "ffn_gate_inp": 1.5, "output": 2.5}


@dataclass
class Family:
    """One entry of the table.

    `sizes`: E embedding, N heads, M KV heads, H head dimension, F feed-forward, V vocabulary, L layers, and whatever
    letters `outer` and `block` use besides; derived: Q = N H, K = M H, A = Q + 2 K, G = 2 F. `outer` and `block` list
    tensors as "name dims" separated by commas, `block` once a layer (a tuple: the first layers', the last for the
    rest). `keys` are GGUF's without the architecture's prefix; an `int` is a u32, a `float` an f32. `gain` and `fixed`
    (center, spread) override what tensors are made of, by short name. `run_as` (architecture, keys, more tensors) is
    what llama.cpp gets instead where it computes a family's graph under another name only.
    """

    name: str
    arch: str
    sizes: dict
    outer: str
    block: str | tuple
    keys: dict
    gain: dict = field(default_factory=dict)
    fixed: dict = field(default_factory=dict)
    run_as: tuple = None

    def __post_init__(self):
        s = {"L": 2, "M": self.sizes["N"], **self.sizes}
        s |= {"Q": s["N"] * s["H"], "K": s["M"] * s["H"]}
        self.s = s | {"A": s["Q"] + 2 * s["K"], "G": 2 * s["F"]}

    def metadata(self, arch=None, more=None):
        """[key, type, value] of the whole file."""
        arch, s = arch or self.arch, self.s
        pairs = {
            "context_length": 512,
            "embedding_length": s["E"],
            "block_count": s["L"],
            "feed_forward_length": s["F"],
            "attention.head_count": s["N"],
            "vocab_size": s["V"],
        }
        if s["M"] != s["N"]:
            pairs["attention.head_count_kv"] = s["M"]
        if s["Q"] != s["E"]:
            pairs |= {"attention.key_length": s["H"], "attention.value_length": s["H"]}
        pairs |= self.keys if more is None else more
        rows = [["general.architecture", "string", arch], ["general.name", "string", f"tiny {self.name}"]]
        rows += [[f"{arch}.{key}", kind(value), value] for key, value in pairs.items()]
        return rows + [["tokenizer.ggml.model", "string", "none"]]

    def tensors(self):
        """[name, dims in ggml's order, center, spread] of the whole file."""
        rows = [self.tensor(name, dims) for name, dims in self.listed(self.outer)]
        for layer in range(self.s["L"]):
            block = self.block if isinstance(self.block, str) else self.block[min(layer, len(self.block) - 1)]
            rows += [self.tensor(f"blk.{layer}.{name}", dims) for name, dims in self.listed(block)]
        return rows

    def listed(self, text):
        for entry in filter(None, (entry.strip() for entry in text.split(","))):
            name, *dims = entry.split()
            yield name, [int(dim) if dim.isdigit() else self.s[dim] for dim in dims]

    def tensor(self, name, dims):
        short, end = name.split(".")[-2:]
        if short in self.fixed:
            center, spread = self.fixed[short]
        elif end == "bias":
            center, spread = 0.0, 0.2
        elif short in ("attn_q_norm", "attn_k_norm"):
            center, spread = 1.4, 0.3
        elif "norm" in short:
            center, spread = 1.0, 0.3
        elif short == "token_embd" and " output.weight" in f" {self.outer}":
            center, spread = 0.0, math.sqrt(3.0)
        elif short == "token_embd":
            center, spread = 0.0, self.gain.get("output", GAIN["output"]) * math.sqrt(3.0 / dims[0])
        elif short == "position_embd":
            center, spread = 0.0, 0.5
        else:
            gain = self.gain.get(short, GAIN.get(short, 1.2))
            center, spread = 0.0, gain * math.sqrt(3.0 / dims[0])
        return [name, dims, center, float(f"{spread:.3g}")]

    def prompt(self):
        return [int(k) % self.s["V"] for k in draws(f"{self.name}/prompt", 40)]


def kind(value):
    """The GGUF type that a Python value is written as."""
    if isinstance(value, list):
        return kind(value[0]).replace("u32", "i32") + "[]"
    return {bool: "bool", int: "u32", float: "f32", str: "string"}[type(value)]


def write(path, metadata, tensors):
    """A GGUF file."""
    gguf_type = gguf.GGUFValueType
    types = {
        "string": gguf_type.STRING,
        "u32": gguf_type.UINT32,
        "i32": gguf_type.INT32,
        "f32": gguf_type.FLOAT32,
        "bool": gguf_type.BOOL,
    }
    (_, _, arch), *rows = metadata
    writer = gguf.GGUFWriter(path, arch)
    for key, of, value in rows:
        if of.endswith("[]"):
            writer.add_key_value(key, value, gguf_type.ARRAY, types[of[:-2]])
        else:
            writer.add_key_value(key, value, types[of])
    for name, dims, center, spread in tensors:
        writer.add_tensor(name, values(name, dims, center, spread))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
