#!/usr/bin/env python3
"""Makes ../golden/perplexity.json: llama.cpp's perplexity of a model in every type that llama-quantize can make.

    quantize.py MODEL TOOLS FOLDER [TYPE]...     all types, or the named ones; results of the others stay as they are

MODEL is SmolLM2-135M-Instruct.Q4_1.gguf, TOOLS the folder of llama-quantize and llama-imatrix, FOLDER where the files go (about
4 GB, one a type; a file that is there is not made again). Build the tools from the sources that families.py names:

    pip install llama_cpp_python-0.3.36/vendor/llama.cpp/gguf-py      # knows types that the gguf of PyPI does not
    cmake -S llama_cpp_python-0.3.36/vendor/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DLLAMA_CURL=OFF
    cmake --build build -j2 --target llama llama-quantize llama-imatrix

Every type is made from the same file with --allow-requantize; types that refuse to do without an importance matrix get one
of the same text ("imatrix"). llama-quantize mixes: rows of 576 are no multiple of 256, so that K- and i-quants are in the
30 ffn_down tensors only and their substitutes elsewhere ("tensors" counts them). What no mix contains is made as
ffn_down=TYPE: these 30 tensors in it, the others in Q8_0. Q1_0 for the whole model fails: 576 is no multiple of its 128,
and it has no substitute. Q1_0, Q2_0, TQ1_0 and TQ2_0 are for models trained in them and leave nothing of this one.

llama.cpp's CPU kernels would round activations to 8 bits where weights are quantized. So each file is written out as F32
and that is run, with an f32 KV cache: what the weights say. The perplexity is exp of the mean of -log p of ids 1 to 511 of the
text's first 512 ids, in one context, without BOS.
"""

import argparse
import collections
import ctypes
import hashlib
import json
import pathlib
import subprocess

import families
import gguf
import llama_cpp.llama_cpp as llama
import numpy as np

TEXT = pathlib.Path("/usr/share/common-licenses/GPL-3")
TOKENS = 512
NEED_MATRIX = "IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M Q2_K_S ffn_down=IQ3_XXS".split()
TYPES = """F32 F16 BF16 Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 Q3_K_L Q3_K_M Q3_K_S Q2_K Q2_K_S Q2_0
    IQ4_NL IQ4_XS IQ3_M IQ3_S IQ3_XS IQ3_XXS IQ2_M IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S TQ1_0 TQ2_0 MXFP4_MOE
    ffn_down=IQ3_XXS ffn_down=Q1_0 ffn_down=MXFP4 ffn_down=NVFP4""".split()


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Tools:
    def __init__(self, folder, model, out):
        self.folder, self.model, self.out = folder.resolve(), model.resolve(), out.resolve()

    def run(self, tool, *arguments):
        """Runs a tool in the output folder, so that no other path gets into a file."""
        done = subprocess.run(
            [self.folder / tool, *map(str, arguments)],
            cwd=self.out,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{tool} failed: " + " / ".join(done.stdout.strip().splitlines()[-3:]))

    def matrix(self, f32):
        if not (self.out / "matrix.gguf").exists():
            self.run(
                "llama-imatrix", "-m", f32.name, "-f", TEXT, "-o", "matrix.gguf", "-c", 512, "--chunks", 12, "-t", 2, "-ngl", 0
            )
        return ["--imatrix", "matrix.gguf"]

    def quantized(self, name, f32):
        path = self.out / f"smollm2-135m.{name}.gguf"
        if not path.exists():
            matrix = self.matrix(f32) if name in NEED_MATRIX else []
            part = path.with_suffix(".part")
            one = ["--tensor-type", name.lower()] if "=" in name else []
            base = "Q8_0" if one else name
            self.run("llama-quantize", "--allow-requantize", *matrix, *one, self.model, part.name, base, 2)
            part.rename(path)
        return path

    def as_f32(self, path):
        self.run("llama-quantize", "--allow-requantize", path.name, "running.f32", "F32", 2)
        return self.out / "running.f32"


def perplexity(path):
    """Of the text's first ids, and these."""
    model = families.Model(path)
    vocab, text = llama.llama_model_get_vocab(model.model), TEXT.read_bytes()
    ids = (llama.llama_token * len(text))()
    count = llama.llama_tokenize(vocab, text, len(text), ids, len(text), False, False)
    ids = list(ids[: min(count, TOKENS)])
    logits = model.logits(ids).astype(np.float64)
    model.close()
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits[:-1]).sum(axis=1)) - logits[np.arange(TOKENS - 1), ids[1:]]
    return float(np.exp(losses.mean())), ids


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("types", nargs="*", default=[])
    options = parser.parse_args()

    llama.llama_log_set(families.complain, ctypes.c_void_p(0))
    llama.llama_backend_init()
    options.folder.mkdir(parents=True, exist_ok=True)
    tools = Tools(options.tools, options.model, options.folder)
    golden = pathlib.Path(__file__).parent.parent / "golden" / "perplexity.json"
    whole = json.loads(golden.read_text(encoding="utf-8")) if golden.exists() else {"types": {}}
    whole = {
        "engine": families.ENGINE,
        "model": options.model.name,
        "model_sha256": sha256(options.model),
        "file": str(TEXT),
        "file_sha256": sha256(TEXT),
        "tokens": TOKENS,
        "ids_sha256": None,
        "types": whole["types"],
    }
    f32 = tools.quantized("F32", None)
    for name in options.types or TYPES:
        try:
            path = tools.quantized(name, f32)
            whole_ppl, ids = perplexity(tools.as_f32(path))
        except RuntimeError as error:
            print(f"{name}: {error}")
            continue
        kinds = collections.Counter(tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors)
        whole["ids_sha256"] = hashlib.sha256(json.dumps(ids).encode()).hexdigest()
        whole["types"][name] = {
            "ppl512": round(whole_ppl, 6),
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
            "imatrix": name in NEED_MATRIX,
            "tensors": dict(kinds),
        }
        print(f"{name:10} {whole_ppl:12.5f}  {path.stat().st_size:11}  {dict(kinds)}", flush=True)
        (options.folder / "running.f32").unlink()
        rows = ",\n  ".join(f"{json.dumps(key)}: {json.dumps(row)}" for key, row in sorted(whole["types"].items()))
        head = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in whole.items() if key != "types"]
        golden.write_text("{\n" + ",\n".join([*head, f'"types": {{\n  {rows}\n}}']) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
