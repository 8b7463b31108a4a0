#!/usr/bin/env python3
"""Makes an ONNX model for onnxruntime from a GGUF file of a llama model, with the operators for which its WebGPU kernels were made.

    build_onnx.py MODEL.gguf OUT.onnx --weights q4|f32

  f32  every matrix dequantized: exactly the file's weights, as MatMul.
  q4   MatMulNBits, blocks of 32. A Q8_0 matrix keeps its values exactly, in 8 bits. Any other is quantized to 4 bits without zero
       points (ggml's Q4_0), since the WebGPU kernel takes no minima as Q4_1 has them: other values, the same work, and fewer bytes than Q4_1.

The graph is a decode step and a prefill alike: `input_ids` [1, S], `seqlens_k` [1] (length of the context with S, less one), `total_length` [1], and
each layer's `past.L.key` and `past.L.value` [1, kv heads, P, head size]; out come `logits` [1, 1, vocabulary] of the last position and
`present.L.key`, `present.L.value`. OUT.json gets the shapes.
"""

import argparse
import json

import numpy as np
import onnx
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, dequantize, quantize
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
BLOCK = 32


class Gguf:
    """A file's metadata and tensors."""

    def __init__(self, path):
        reader = GGUFReader(path)
        self.fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer")}
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        if self.fields["general.architecture"] != "llama":
            raise SystemExit(f"only llama models, not {self.fields['general.architecture']}")

    def get(self, name, default=None):
        return self.fields.get(f"llama.{name}", default)

    def type(self, name):
        return self.tensors[name].tensor_type

    def values(self, name):
        tensor = self.tensors[name]
        shape = [int(n) for n in reversed(tensor.shape)]
        return np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape))


def half_split(rows, heads):
    """Rows of q or k in the order of half-split RoPE; in GGUF a llama's are interleaved."""
    return rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


class Graph:
    """Nodes and initializers, as they are added."""

    def __init__(self, weights):
        self.weights, self.nodes, self.initializers = weights, [], []

    def constant(self, name, values):
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def op(self, kind, inputs, outputs, domain="", **attributes):
        name = outputs[0]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0] if len(outputs) == 1 else outputs

    def matmul(self, name, x, matrix, bits):
        """x times the matrix [n, k] transposed, in `bits` a weight unless all is f32."""
        n, k = matrix.shape
        if self.weights == "f32":
            return self.op("MatMul", [x, self.constant(f"{name}.weight", np.ascontiguousarray(matrix.T))], [name])
        scales, packed = quantized(matrix, bits)
        inputs = [x, self.constant(f"{name}.weight", packed), self.constant(f"{name}.scales", scales)]
        # Level 4: kernels may round activations to int8, which they do where shape and GPU make it faster.
        return self.op("MatMulNBits", inputs, [name], MICROSOFT, K=k, N=n, bits=bits, block_size=BLOCK, accuracy_level=4)


def quantized(matrix, bits):
    """Scales [n * blocks] and quants [n, blocks, bytes] in MatMulNBits' layout: unsigned, middle at 8 or 128, pairs low nibble first."""
    n, k = matrix.shape
    raw = quantize(matrix, Type.Q8_0 if bits == 8 else Type.Q4_0).reshape(n, k // BLOCK, -1)
    scales = np.ascontiguousarray(raw[..., :2]).view(np.float16).astype(np.float32).reshape(-1)
    if bits == 8:
        return scales, raw[..., 2:] ^ 0x80
    # ggml's bytes hold columns i and i + 16 of a block.
    quants = np.concatenate([raw[..., 2:] & 15, raw[..., 2:] >> 4], axis=-1)
    return scales, np.ascontiguousarray(quants[..., 0::2] | quants[..., 1::2] << 4)


def build(gguf, weights, context):
    """The model and its shapes."""
    layers, width = gguf.get("block_count"), gguf.get("embedding_length")
    heads = gguf.get("attention.head_count")
    kv_heads = gguf.get("attention.head_count_kv", heads)
    head = gguf.get("attention.key_length", width // heads)
    rotary = gguf.get("rope.dimension_count", head)
    epsilon = float(gguf.get("attention.layer_norm_rms_epsilon"))
    graph = Graph(weights)

    angles = np.arange(context)[:, None] * float(gguf.get("rope.freq_base", 10000.0)) ** (-np.arange(0, rotary, 2) / rotary)
    cos = graph.constant("cos", np.cos(angles).astype(np.float32))
    sin = graph.constant("sin", np.sin(angles).astype(np.float32))
    bits = lambda name: 8 if gguf.type(name) == Type.Q8_0 else 4
    norm = lambda name: graph.constant(name, gguf.values(name))

    embedding = gguf.values("token_embd.weight")
    head_name = "output.weight" if "output.weight" in gguf.tensors else "token_embd.weight"
    if weights == "f32":
        table = graph.constant("embedding", embedding)
        x = graph.op("Gather", [table, "input_ids"], ["embedded"])
    else:
        scales, quants = quantized(embedding, 8)
        table = graph.constant("embedding", quants.reshape(embedding.shape))
        inputs = [table, "input_ids", graph.constant("embedding.scales", scales.reshape(len(embedding), -1))]
        x = graph.op("GatherBlockQuantized", inputs, ["embedded"], MICROSOFT, bits=8, block_size=BLOCK, gather_axis=0, quantize_axis=1)

    outputs = []
    y = None
    for layer in range(layers):
        block, at = f"blk.{layer}.", f"layer.{layer}."
        normed, x = add_and_norm(graph, at + "attn_norm", x, y, norm(block + "attn_norm.weight"), epsilon)
        qkv = np.concatenate([
            half_split(gguf.values(block + "attn_q.weight"), heads),
            half_split(gguf.values(block + "attn_k.weight"), kv_heads),
            gguf.values(block + "attn_v.weight"),
        ])
        packed = graph.matmul(at + "qkv", normed, qkv, bits(block + "attn_q.weight"))
        past = [f"past.{layer}.{part}" for part in ("key", "value")]
        present = [f"present.{layer}.{part}" for part in ("key", "value")]
        outputs += present
        inputs = [packed, "", "", *past, "seqlens_k", "total_length", cos, sin]
        shape = {"num_heads": heads, "kv_num_heads": kv_heads, "do_rotary": 1, "rotary_interleaved": 0}
        attention = graph.op("GroupQueryAttention", inputs, [at + "attention", *present], MICROSOFT, **shape)[0]
        name = block + "attn_output.weight"
        y = graph.matmul(at + "attn_output", attention, gguf.values(name), bits(name))
        normed, x = add_and_norm(graph, at + "ffn_norm", x, y, norm(block + "ffn_norm.weight"), epsilon)
        gate, up = (
            graph.matmul(at + part, normed, gguf.values(block + part + ".weight"), bits(block + part + ".weight"))
            for part in ("ffn_gate", "ffn_up")
        )
        sigmoid = graph.op("Sigmoid", [gate], [at + "sigmoid"])
        silu = graph.op("Mul", [gate, sigmoid], [at + "silu"])
        y = graph.matmul(
            at + "ffn_down",
            graph.op("Mul", [silu, up], [at + "swiglu"]),
            gguf.values(block + "ffn_down.weight"),
            bits(block + "ffn_down.weight"),
        )

    # Only the last position reaches the head.
    last = [graph.constant(name, np.array([value])) for name, value in (("minus_one", -1), ("end", 2**31), ("one", 1))]
    cut = lambda name, values: graph.op("Slice", [values, last[0], last[1], last[2]], [name])
    normed, _ = add_and_norm(graph, "output_norm", cut("x_last", x), cut("y_last", y), norm("output_norm.weight"), epsilon)
    head_weights = embedding if head_name == "token_embd.weight" else gguf.values(head_name)
    vocabulary = len(head_weights)
    graph.matmul("logits", normed, head_weights, bits(head_name))

    f32, cache = TensorProto.FLOAT, [1, kv_heads, "P", head]
    value = helper.make_tensor_value_info
    inputs = [value("input_ids", TensorProto.INT64, [1, "S"])]
    inputs += [value("seqlens_k", TensorProto.INT32, [1]), value("total_length", TensorProto.INT32, [1])]
    inputs += [value(name.replace("present", "past"), f32, cache) for name in outputs]
    results = [value("logits", f32, [1, 1, vocabulary])]
    results += [value(name, f32, [1, kv_heads, "T", head]) for name in outputs]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "llama", inputs, results, graph.initializers), opset_imports=opsets, ir_version=10
    )
    return model, {"layers": layers, "kv_heads": kv_heads, "head": head, "vocabulary": vocabulary, "context": context, "weights": weights}


def add_and_norm(graph, name, x, y, weight, epsilon):
    """The norm of x + y, and x + y; y is None before the first layer."""
    if y is None:
        normed = graph.op("SimplifiedLayerNormalization", [x, weight], [name], axis=-1, epsilon=epsilon, stash_type=1)
        return normed, x
    outputs = [name, "", "", name + ".sum"]
    graph.op("SkipSimplifiedLayerNormalization", [x, y, weight], outputs, MICROSOFT, epsilon=epsilon)
    return name, name + ".sum"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("gguf")
    parser.add_argument("onnx")
    parser.add_argument("--weights", choices=["q4", "f32"], required=True)
    parser.add_argument("--context", type=int, default=2048)
    args = parser.parse_args()
    model, shapes = build(Gguf(args.gguf), args.weights, args.context)
    onnx.save(model, args.onnx)
    with open(args.onnx.removesuffix(".onnx") + ".json", "w", encoding="utf-8") as file:
        json.dump(shapes, file)
    print(f"{args.onnx}: {model.ByteSize() / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
