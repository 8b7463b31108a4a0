#!/usr/bin/env python3
"""Blocks of 32 numbers quantized by the `gguf` package, for `src/weights/convert.rs`.

    python quantize_cases.py ../data/quantize.json

`pip install numpy gguf`. Numbers are written as hex of their little-endian bytes, so that nothing is rounded on the way.
"""

import json
import sys

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import quantize

rng = np.random.default_rng(4)
blocks = {
    "normal": rng.standard_normal(32),
    "small weights": 0.02 * rng.standard_normal(32),
    "zeros": np.zeros(32),
    "one number": np.eye(1, 32, 7)[0] * -3.5,
    "halves": np.arange(32) * 0.5 - 8,
    "halves of 127 steps": np.concatenate([[127.0], np.arange(31) - 15.5]),
    "both extremes": np.concatenate([[2.0, -2.0], np.linspace(-2, 2, 30)]),
    "the negative first": np.concatenate([[-2.0, 2.0], np.linspace(-2, 2, 30)]),
    "tiny": 1e-7 * rng.standard_normal(32),
    "large": 6e4 * rng.standard_normal(32),
    "of BF16": (rng.standard_normal(32).astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32),
}
out = []
for name, numbers in blocks.items():
    block = numbers.astype("<f4")
    row = {"name": name, "f32": block.tobytes().hex()}
    for kind in [Type.Q8_0, Type.Q5_0, Type.Q4_0]:
        row[kind.name] = quantize(block.reshape(1, 32), kind).tobytes().hex()
    out.append(row)
with open(sys.argv[1], "w", encoding="utf-8") as file:
    file.write("[\n" + ",\n".join(json.dumps(row) for row in out) + "\n]\n")
