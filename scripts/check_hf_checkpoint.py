#!/usr/bin/env python3
"""Load a checkpoint that Sonde trained in transformers and compare the logits.

    pip install torch transformers safetensors numpy tokenizers
    scripts/check_hf_checkpoint.py runs/go [--text FILE] [--sonde ./sonde]

transformers must load every weight of the main model, miss none, and agree with
`sonde logits` within 1e-4 (norm-wise, per sequence; 2e-2 where the weights are stored in
bf16, since Sonde rounds activations to bf16 then) and in the most probable token wherever
its lead exceeds that error. The MTP module, which transformers leaves unread, is compared
in its shapes alone. For developers; users never need Python.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import DeepseekV3ForCausalLM

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLE = "package main\n\nimport \"fmt\"\n\n// Reverse returns s backwards.\nfunc Reverse(s string) string {\n"


def sequences(run, text, length):
    """Token ids of the text in pieces, and a row of random ids."""
    tok = Tokenizer.from_file(str(run / "tokenizer.json"))
    ids = tok.encode(text, add_special_tokens=False).ids
    pieces = [ids[i : i + length] for i in range(0, min(len(ids), 4 * length), length)]
    rng = np.random.default_rng(7)
    vocab = json.loads((run / "config.json").read_text())["vocab_size"]
    return pieces + [rng.integers(0, min(vocab, tok.get_vocab_size()), length).tolist()]


def ours(run, sonde, seqs, vocab):
    """Sonde's logits, [tokens, vocabulary] per sequence."""
    command = sonde or ["go", "run", "./cmd/sonde"]
    lines = "".join(json.dumps(s) + "\n" for s in seqs)
    raw = subprocess.run(command + ["logits", str(run)], input=lines.encode(), cwd=ROOT,
                         stdout=subprocess.PIPE, check=True).stdout
    flat = np.frombuffer(raw, "<f4").reshape(-1, vocab)
    assert len(flat) == sum(map(len, seqs)), f"{len(flat)} rows of logits for {sum(map(len, seqs))} tokens"
    return np.split(flat, np.cumsum([len(s) for s in seqs])[:-1])


def load(run):
    """transformers' model in float32; complains of any weight missing or left over."""
    model, info = DeepseekV3ForCausalLM.from_pretrained(
        run, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    layers = model.config.num_hidden_layers
    left = [k for k in info["unexpected_keys"] if not k.startswith(f"model.layers.{layers}.")]
    for kind, names in (("missing", info["missing_keys"]), ("mismatched", info["mismatched_keys"]), ("left over", left)):
        assert not names, f"{kind}: {sorted(names)[:5]}"
    return model.eval()


def stored_type(run):
    """The format of the embedding in the file."""
    for file in sorted(run.glob("model*.safetensors")):
        with safe_open(file, "pt") as f:
            if "model.embed_tokens.weight" in f.keys():
                return str(f.get_slice("model.embed_tokens.weight").get_dtype())
    raise SystemExit(f"{run}: no model.embed_tokens.weight")


def main():
    ap = argparse.ArgumentParser(description="compare a run's logits with transformers'")
    ap.add_argument("run", type=pathlib.Path)
    ap.add_argument("--text", type=pathlib.Path, help="a text to compare on")
    ap.add_argument("--length", type=int, default=128, help="tokens a sequence")
    ap.add_argument("--sonde", help="the program (default: go run ./cmd/sonde)")
    a = ap.parse_args()
    run = a.run.resolve()
    model = load(run)
    vocab = model.config.vocab_size
    text = a.text.read_text(errors="replace") if a.text else SAMPLE
    seqs = sequences(run, text, min(a.length, model.config.max_position_embeddings))
    got = ours(run, a.sonde and [str(pathlib.Path(a.sonde).resolve())], seqs, vocab)
    dtype = stored_type(run)
    limit = 1e-4 if dtype == "F32" else 2e-2
    worst, same, rows = 0.0, 0, 0
    for ids, g in zip(seqs, got):
        with torch.no_grad():
            w = model(torch.tensor([ids]), use_cache=False).logits[0].numpy()
        worst = max(worst, float(np.linalg.norm(g - w) / np.linalg.norm(w)))
        top = np.sort(w, -1)
        clear = top[:, -1] - top[:, -2] > 2 * limit * np.abs(w).max(-1)
        same += int(((g.argmax(-1) == w.argmax(-1)) | ~clear).sum())
        rows += len(ids)
    print(f"{a.run}: weights {dtype}, {rows} positions, worst relative error of the logits {worst:.1e}, "
          f"the same most probable token in {same} of {rows}")
    sys.exit(0 if worst <= limit and same == rows else 1)


if __name__ == "__main__":
    main()
