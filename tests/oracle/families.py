#!/usr/bin/env python3
"""Makes ../golden/families/: what llama.cpp computes with a tiny model of every family.

    families.py [--out FOLDER] [NAME]...     all families, or the named ones

A golden has the file's metadata and tensor list, a prompt of 40 ids, the logits at each of its positions, and 32 greedy
ids with the margin of each over the second-best. Weights are made up the same way on both sides (tinymodel.py), so that no
model is stored. FAMILIES.md says in words how the families differ.

Needs numpy, gguf, and llama-cpp-python 0.3.36, whose library is built here with one change. ggml looks GELU up in a table of
f16 values, which is off by up to 3e-3; with the two defines GGML_GELU_FP16 and GGML_GELU_QUICK_FP16 removed from
ggml/src/ggml-cpu/vec.h it computes tanhf. (SiLU and exp are f32 polynomials within 2 ulp and stay.)

    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36 && tar xzf llama_cpp_python-0.3.36.tar.gz
    sed -i '/^#define GGML_GELU/d' llama_cpp_python-0.3.36/vendor/llama.cpp/ggml/src/ggml-cpu/vec.h
    pip install numpy gguf ./llama_cpp_python-0.3.36

Everything runs on the CPU in one thread, with f32 weights, an f32 KV cache and without flash attention: n_ctx 512 (which
decides between long and short RoPE factors), the prompt in one call, then one id a call; no BOS is added.
"""

import argparse
import base64
import ctypes
import json
import pathlib
import tempfile

import llama_cpp.llama_cpp as llama
import numpy as np
import tinymodel
from families_table import FAMILIES

ENGINE = "llama.cpp 0c1e57098bba43ac29e6e3b677cdceebdd22334f (llama-cpp-python 0.3.36) with exact GELU, CPU, f32 weights and KV"
F32 = 0  # GGML_TYPE_F32


class Model:
    """A GGUF file open in llama.cpp."""

    def __init__(self, path):
        params = llama.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise SystemExit("llama.cpp does not load the file")
        params = llama.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = F32
        params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = llama.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit("llama.cpp makes no context")
        self.vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.batch = llama.llama_batch_init(512, 0, 1)
        self.read = 0

    def logits(self, ids):
        """Reads `ids` on; the logits after each, (len(ids), vocab)."""
        batch = self.batch
        batch.n_tokens = len(ids)
        for at, id in enumerate(ids):
            batch.token[at], batch.pos[at], batch.logits[at] = id, self.read + at, True
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, 0
        if llama.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")
        self.read += len(ids)
        return np.ctypeslib.as_array(llama.llama_get_logits(self.context), shape=(len(ids), self.vocab)).copy()

    def close(self):
        llama.llama_batch_free(self.batch)
        llama.llama_free(self.context)
        llama.llama_model_free(self.model)


def run(family, path):
    """What llama.cpp computes: logits of the prompt, greedy ids, margins."""
    if family.run_as is None:
        tinymodel.write(path, family.metadata(), family.tensors())
    else:
        arch, keys, more = family.run_as
        tinymodel.write(path, family.metadata(arch, keys), family.tensors() + more)
    model = Model(path)
    logits = model.logits(family.prompt())
    ids, margins, last = [], [], logits[-1]
    for _ in range(32):
        second, first = np.sort(last)[-2:]
        ids.append(int(last.argmax()))
        margins.append(float(f"{first - second:.6g}"))
        last = model.logits(ids[-1:])[0]
    model.close()
    return logits, ids, margins


def golden(family, path):
    logits, ids, margins = run(family, path)
    if not np.isfinite(logits).all():
        raise SystemExit(f"{family.name}: logits are not finite")
    note = f"; run as `{family.run_as[0]}`, whose graph is the same" if family.run_as else ""
    return {
        "name": family.name,
        "engine": ENGINE + note,
        "metadata": family.metadata(),
        "tensors": family.tensors(),
        "prompt": family.prompt(),
        "greedy": ids,
        "margins": margins,
        "vocab": logits.shape[1],
        "logits": base64.b64encode(logits.astype("<f4").tobytes()).decode(),
    }


def dump(entry):
    """JSON with one line a key of metadata, a tensor or a list of numbers."""

    def compact(value):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    lines = []
    for key, value in entry.items():
        if key in ("metadata", "tensors"):
            rows = ",\n  ".join(compact(row) for row in value)
            lines.append(f'"{key}": [\n  {rows}\n]')
        else:
            lines.append(f'"{key}": {compact(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def complain(level, text, _):
    if level == 4:  # GGML_LOG_LEVEL_ERROR
        print(text.decode("utf-8", "replace"), end="")


def main():
    here = pathlib.Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=here.parent / "golden" / "families")
    parser.add_argument("names", nargs="*", default=[])
    options = parser.parse_args()
    if unknown := set(options.names) - {family.name for family in FAMILIES}:
        raise SystemExit(f"no such family: {', '.join(sorted(unknown))}")

    llama.llama_log_set(complain, ctypes.c_void_p(0))
    llama.llama_backend_init()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for family in FAMILIES:
            if options.names and family.name not in options.names:
                continue
            entry = golden(family, pathlib.Path(folder) / "model.gguf")
            text = dump(entry)
            (options.out / f"{family.name}.json").write_text(text, encoding="utf-8")
            logits = np.frombuffer(base64.b64decode(entry["logits"]), "<f4")
            print(
                f"{family.name:20} {len(text):6} bytes, logits ±{np.std(logits):.2f}, "
                f"margins {min(entry['margins']):.2g} to {max(entry['margins']):.2g}, {len(set(entry['greedy']))} different ids"
            )


if __name__ == "__main__":
    main()
