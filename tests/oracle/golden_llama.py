#!/usr/bin/env python3
"""The same numbers as forward.py from llama.cpp: for the runs of a golden file whose engine is llama.cpp.

    golden_llama.py F32_MODEL GOLDEN_FILE [NAME]...   compute the named runs (default: plain chat) and the perplexity

Needs llama-cpp-python, which is built from source (about ten minutes on two cores):

    pip install numpy gguf tokenizers jinja2 llama-cpp-python==0.3.36

F32_MODEL is the quantized model with its weights written out as float32, `llama-quantize --allow-requantize IN OUT F32`
(llama.cpp's own tool). With quantized weights llama.cpp's CPU kernels also quantize the activations to 8 bits, which moves
logits by up to 0.2; with float32 weights and a float32 KV cache it computes what the file says.

The llama.cpp numbers in ../golden/smollm2.json were made with that version by this method, with another program: the prompt
in one decode call, then one token a call, argmax of the raw logits, end-of-generation tokens not stopping. This program is
for making them again, or for more models; it has not been run for the numbers in the repository.
"""

import argparse
import hashlib
import json
from itertools import pairwise

import llama_cpp
import numpy as np

import forward

ENGINE = f"llama-cpp-python {llama_cpp.__version__} (CPU), float32 weights and KV cache"
F32 = 0  # GGML_TYPE_F32


def load(path, every_position):
    """A context of 2,048 tokens without flash attention; logits of all positions only where wanted, they take 400 MB."""
    return llama_cpp.Llama(
        path, n_ctx=2048, n_batch=2048, n_ubatch=512, n_threads=2, n_threads_batch=2, flash_attn=False,
        type_k=F32, type_v=F32, logits_all=every_position, verbose=False,
    )  # fmt: skip


class Prompted:
    """A loaded model that has read a prompt."""

    def __init__(self, llama, ids):
        self.llama = llama
        llama.reset()
        llama._ctx.kv_cache_clear()
        self.logits = self.read(ids)

    def read(self, ids):
        self.llama.eval(ids)
        last = llama_cpp.llama_get_logits_ith(self.llama._ctx.ctx, -1)
        return np.ctypeslib.as_array(last, shape=(self.llama.n_vocab(),)).copy()


def text_of(llama, ids):
    return llama.detokenize(ids, special=True).decode("utf-8", "replace")


def run(llama, entry):
    """One prompt's numbers; the chat's text is what the file's entry says, the ids are llama.cpp's own."""
    ids = llama.tokenize(entry["prompt"].encode(), add_bos=entry["add_bos"], special=entry["parse_special"])
    prompted = Prompted(llama, ids)
    result = {"engine": ENGINE, "prompt_ids": ids, "n_prompt": len(ids)}
    result |= forward.summary(prompted.logits, lambda id: text_of(llama, [id]))
    drawn, margins = forward.greedy(prompted.logits, lambda id: prompted.read([id]), 64)
    vocabulary = llama_cpp.llama_model_get_vocab(llama._model.model)
    ends = [at for at, id in enumerate(drawn) if llama_cpp.llama_vocab_is_eog(vocabulary, id)]
    return result | {
        "greedy_ids": drawn,
        "greedy_text": text_of(llama, drawn),
        "top1_top2_margin": margins,
        "min_margin": min(margins),
        "eog_at": ends[0] if ends else None,
    }


def perplexity(llama, entry):
    with open(entry["file"], "rb") as file:
        raw = file.read()
    ids = llama.tokenize(raw, add_bos=False, special=False)[: entry["tokens"]]
    llama.reset()
    llama.eval(ids)
    losses = [-forward.likelihoods(llama.scores[at])[next] for at, (_, next) in enumerate(pairwise(ids))]
    return {
        "engine": ENGINE,
        "file_sha256": hashlib.sha256(raw).hexdigest(),
        "ids_sha256": hashlib.sha256(json.dumps(ids).encode()).hexdigest(),
        "mean_nll": float(np.mean(losses)),
        "ppl": float(np.exp(np.mean(losses))),
        "ppl_512": float(np.exp(np.mean(losses[:511]))),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("file")
    parser.add_argument("names", nargs="*", default=["plain", "chat"])
    options = parser.parse_args()

    with open(options.file, encoding="utf-8") as file:
        whole = json.load(file)
    llama = load(options.model, every_position=False)
    for name in options.names:
        whole["runs"][name] |= run(llama, whole["runs"][name])
        print(f"{name}: {whole['runs'][name]['greedy_text']!r}")
    llama = load(options.model, every_position=True)
    for entry in whole["perplexity"]:
        if entry["engine"] != forward.ENGINE:
            entry |= perplexity(llama, entry)
            print(f"{entry['file']}: {entry['ppl']}")
    with open(options.file, "w", encoding="utf-8") as file:
        file.write(forward.dump(whole) + "\n")


if __name__ == "__main__":
    main()
