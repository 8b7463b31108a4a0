#!/usr/bin/env python3
"""How likely every next id is: the reference that an engine's KL divergence is measured from.

    kl_reference.py MODEL write FILE            ../golden/smollm2-kl.bin, about the text of ../golden/smollm2.json's perplexity
    kl_reference.py MODEL compare FILE LOGITS   KL of an engine's logits (raw f32, one row of the vocabulary a position), from all ids
                                                and from what FILE keeps of them

All logits of 512 positions are 100 MB, so a position is kept as the log-probabilities of its 32 likeliest ids and the log of all
others' probability together. Merging outcomes can only lose divergence (the data-processing inequality: Cover and Thomas, Elements of
Information Theory, 2.8), so KL over these 33 is a lower bound of the whole one; `compare` prints both.

FILE is little-endian: u32 count, u32 kept; `count` ids (u16); `count` positions, each `kept` ids (u16); `count` positions, each `kept`
log-probabilities and the others' (f32). Position p is what comes after ids 0 to p. Logits are forward.py's, all in float32.
"""

import argparse
import hashlib
import json
import pathlib
import sys

import numpy as np

from forward import Gguf, Llama, Text, likelihoods

COUNT, KEPT = 512, 32
GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "smollm2.json"


def text_ids(gguf):
    entry = json.loads(GOLDEN.read_text(encoding="utf-8"))["perplexity"][0]
    raw = pathlib.Path(entry["file"]).read_bytes()
    ids = Text(gguf).ids(raw.decode())[: entry["tokens"]]
    known = hashlib.sha256(json.dumps(ids).encode()).hexdigest() == entry["ids_sha256"]
    if not known or hashlib.sha256(raw).hexdigest() != entry["file_sha256"]:
        raise SystemExit(f"{entry['file']} or its ids are not the golden's")
    return ids[:COUNT]


def reference(gguf, ids):
    """Log-probabilities (count, vocabulary), float64 from float32 logits."""
    model = Llama(gguf)
    return likelihoods(model.logits(model.read(ids)))


def merged(logprobs, kept):
    """The chosen ids' log-probabilities and the log of what is left: (count, kept + 1)."""
    others = logprobs.copy()
    np.put_along_axis(others, kept, -np.inf, axis=1)
    most = others.max(axis=1, keepdims=True)
    rest = most + np.log(np.exp(others - most).sum(axis=1, keepdims=True))
    return np.concatenate([np.take_along_axis(logprobs, kept, axis=1), rest], axis=1)


def divergence(p, q):
    """KL(p || q) of each row of log-probabilities."""
    return (np.exp(p) * (p - q)).sum(axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    jobs = parser.add_subparsers(dest="job", required=True)
    jobs.add_parser("write").add_argument("file")
    job = jobs.add_parser("compare")
    job.add_argument("file")
    job.add_argument("logits")
    options = parser.parse_args()

    gguf = Gguf(options.model)
    ids = text_ids(gguf)
    p = reference(gguf, ids)
    kept = np.argsort(-p, axis=1, kind="stable")[:, :KEPT]
    if options.job == "write":
        with open(options.file, "wb") as file:
            file.write(np.array([COUNT, KEPT], "<u4").tobytes())
            file.write(np.array(ids, "<u2").tobytes())
            file.write(kept.astype("<u2").tobytes())
            file.write(merged(p, kept).astype("<f4").tobytes())
        rest = np.exp(merged(p, kept)[:, -1])
        print(f"{COUNT} positions; the others' probability is {rest.mean():.4f} on average and {rest.max():.4f} at most")
        return
    raw = np.fromfile(options.file, np.uint8)
    if raw[8 : 8 + 2 * COUNT].tobytes() != np.array(ids, "<u2").tobytes():
        raise SystemExit(f"{options.file} is about other ids")
    q = likelihoods(np.fromfile(options.logits, "<f4").reshape(COUNT, -1))
    whole, bound = divergence(p, q), divergence(merged(p, kept), merged(q, kept))
    print(f"KL over all ids: mean {whole.mean():.4e}, most {whole.max():.4e}")
    print(f"KL over {KEPT + 1}: mean {bound.mean():.4e}, most {bound.max():.4e}")
    print(f"the likeliest id is the same at {(p.argmax(axis=1) == q.argmax(axis=1)).sum()} of {COUNT} positions")


if __name__ == "__main__":
    sys.exit(main())
