"""Makes tests/golden/types.gguf: random blocks of every quantized type, and beside each tensor `T` the numbers that it means as `T.f32`.

    pip install numpy gguf
    python weight_types.py ../golden/types.gguf [LLAMA_CPP]

The numbers are those of the Python package `gguf`. It has no code for Q1_0, Q2_0 and Q8_1, which are written out below. With the
sources of llama.cpp, ggml-quants.c is compiled and must give the same bits (all but Q8_1, which ggml never dequantizes).
"""

import ctypes
import os
import struct
import subprocess
import sys
import tempfile

import gguf
import numpy as np
from gguf import quants

# Type, id, numbers and bytes of a block, where its f16 numbers are (IQ1_M scatters its own).
TYPES = [
    ("Q4_0", 2, 32, 18, [0]),
    ("Q4_1", 3, 32, 20, [0, 2]),
    ("Q5_0", 6, 32, 22, [0]),
    ("Q5_1", 7, 32, 24, [0, 2]),
    ("Q8_0", 8, 32, 34, [0]),
    ("Q8_1", 9, 32, 36, [0, 2]),
    ("Q2_K", 10, 256, 84, [80, 82]),
    ("Q3_K", 11, 256, 110, [108]),
    ("Q4_K", 12, 256, 144, [0, 2]),
    ("Q5_K", 13, 256, 176, [0, 2]),
    ("Q6_K", 14, 256, 210, [208]),
    ("IQ2_XXS", 16, 256, 66, [0]),
    ("IQ2_XS", 17, 256, 74, [0]),
    ("IQ3_XXS", 18, 256, 98, [0]),
    ("IQ1_S", 19, 256, 50, [0]),
    ("IQ4_NL", 20, 32, 18, [0]),
    ("IQ3_S", 21, 256, 110, [0]),
    ("IQ2_S", 22, 256, 82, [0]),
    ("IQ4_XS", 23, 256, 136, [0]),
    ("IQ1_M", 29, 256, 56, []),
    ("TQ1_0", 34, 256, 54, [52]),
    ("TQ2_0", 35, 256, 66, [64]),
    ("MXFP4", 39, 32, 17, []),
    ("NVFP4", 40, 64, 36, []),
    ("Q1_0", 41, 128, 18, [0]),
    ("Q2_0", 42, 64, 18, [0]),
]

NUMBERS = 2048

# Ordinary, largest, negative largest, subnormal, smallest, negative zero; as f16 bits.
HALVES = [0x2E66, 0x7BFF, 0xFBFF, 0x03FF, 0x8001, 0x8000, 0x0000, 0xBC00]


def blocks_of(name, numbers, size, halves, random):
    """Bytes of random blocks; the first have all bits set and none set."""
    count = NUMBERS // numbers
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    blocks[0] = 255
    blocks[1] = 0
    for i, block in enumerate(blocks):
        for which, at in enumerate(halves):
            # Every extreme once, then ordinary scales.
            bits = HALVES[(i + which) % len(HALVES)] if i < len(HALVES) else random.uniform(-0.1, 0.1)
            block[at : at + 2] = np.frombuffer(np.float16(bits).tobytes() if i >= len(HALVES) else struct.pack("<H", bits), np.uint8)
        if name == "IQ1_M":
            for part in range(4):
                high = (HALVES[i % len(HALVES)] >> (4 * part)) & 15
                block[49 + 2 * part] = (block[49 + 2 * part] & 15) | (high << 4)
        if name == "MXFP4":
            block[0] = [255, 0, 1, 2, 254, 127, 120, 130][i % 8]
        if name == "NVFP4" and i == 2:
            block[:4] = [0x7F, 0x7E, 0x80, 0x07]
    return blocks


def signed_bits(block):
    return 2.0 * np.unpackbits(block, axis=-1, bitorder="little") - 1.0


def twos(block):
    return ((block[..., None] >> np.array([0, 2, 4, 6], np.uint8)) & 3).reshape(len(block), -1).astype(np.float32) - 1


def numbers_of(name, blocks):
    def head():
        return blocks[:, :2].copy().view(np.float16).astype(np.float32)

    if name == "Q1_0":  # f16 d; 128 bits, set for d and unset for -d
        return head() * signed_bits(blocks[:, 2:]).astype(np.float32)
    if name == "Q2_0":  # f16 d; 64 pairs of bits, minus 1
        return head() * twos(blocks[:, 2:])
    if name == "Q8_1":  # f16 d, f16 sum (for dot products); 32 signed bytes
        return head() * blocks[:, 4:].view(np.int8).astype(np.float32)
    kind = gguf.GGMLQuantizationType[name]
    with np.errstate(over="ignore"):
        return quants.dequantize(blocks.reshape(1, -1), kind).astype(np.float32)


def check(name, blocks, numbers, library):
    out = np.empty(NUMBERS, np.float32)
    function = getattr(library, "dequantize_row_" + name.lower().replace("_k", "_K"))
    data = blocks.tobytes()
    function(data, out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(NUMBERS))
    same = out.view(np.uint32) == numbers.reshape(-1).view(np.uint32)
    print(f"{name}: ggml agrees on {same.sum()} of {same.size} numbers")
    # Zeros of either sign are one number.
    assert (out == numbers.reshape(-1)).all(), name


def compiled(llama):
    folder = tempfile.mkdtemp()
    library = f"{folder}/quants.so"
    ggml = f"{llama}/ggml"
    flags = ["-shared", "-fPIC", "-O1", "-ffp-contract=off", f"-I{ggml}/include", f"-I{ggml}/src"]
    subprocess.run(["gcc", *flags, f"{ggml}/src/ggml-quants.c", "-o", library], check=True)
    # What else of ggml it refers to is never called.
    return ctypes.CDLL(library, mode=os.RTLD_LAZY)


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def main(path, llama=None):
    library = compiled(llama) if llama else None
    tensors = []
    for name, kind, numbers, size, halves in TYPES:
        random = np.random.default_rng(kind)
        blocks = blocks_of(name, numbers, size, halves, random)
        values = numbers_of(name, blocks)
        if library and name != "Q8_1":
            check(name, blocks, values, library)
        tensors.append((name, kind, blocks.tobytes()))
        tensors.append((name + ".f32", 0, values.astype("<f4").tobytes()))
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 0)
    offset = 0
    data = b""
    for name, kind, content in tensors:
        header += string(name) + struct.pack("<IQIQ", 1, NUMBERS, kind, offset)
        content += bytes(-len(content) % 32)
        data += content
        offset += len(content)
    header += bytes(-len(header) % 32)
    with open(path, "wb") as file:
        file.write(header + data)
    print(f"{path}: {len(header) + len(data)} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
