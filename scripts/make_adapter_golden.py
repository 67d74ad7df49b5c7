#!/usr/bin/env python3
"""Make the golden cases of low-rank adapters with PyTorch, transformers and PEFT.

A case is a folder of an adapter as PEFT saves it, over one of the tiny models that
make_tiny_golden.py and make_tiny_llama_golden.py make, with golden.safetensors: what
PEFT computes in float32 on a CPU with eager attention. For developers; neither users
nor `go test` need Python.

    pip install torch transformers safetensors peft
    scripts/make_adapter_golden.py                    # rewrite checkpoint/testdata/adapter
    scripts/make_adapter_golden.py --logits BASE ADAPTER < ids.jsonl > logits.f32

The second form reads an adapter with PEFT and does what `sonde logits` does: for each
line, a JSON array of token ids, the logits after every token in little-endian float32.

Tensors of golden.safetensors: input_ids [B,T] int32; logits [B,T,V]; coef [B,T-1];
grad.NAME, by the names of the adapter's file, of sum over t of coef[t] log p(token t+1)
"""
import argparse
import copy
import json
import pathlib
import sys

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
LLAMA, DEEPSEEK = "model/llama/testdata/golden/", "model/deepseek/testdata/golden/"
CASES = {
    # Every linear layer, which PEFT lists by whole names, and biases beside them.
    "llama_all": (LLAMA + "llama_biases", {"r": 3, "lora_alpha": 7, "target_modules": "all-linear"}),
    # Ends of names, rank-stabilised, with exceptions.
    "qwen2_some": (LLAMA + "qwen2_yarn", {"r": 4, "lora_alpha": 6, "use_rslora": True, "target_modules": ["q_proj", "v_proj", "down_proj"],
                                          "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"layers.1.mlp.down_proj": 5}}),
    # MLA. (Over transformers 5, PEFT takes gate_proj and its like in a mixture of experts for
    # the routed experts, whatever stands before the name: no case for shared ones.)
    "deepseek": (DEEPSEEK + "tiny_yarn_mtp", {"r": 5, "lora_alpha": 8,
                                              "target_modules": r".*\.self_attn\.(q_a_proj|q_b_proj|kv_a_proj_with_mqa|kv_b_proj|o_proj)"}),
}


def build(folder):
    config = json.loads((folder / "config.json").read_text())
    cls = getattr(transformers, config["architectures"][0])
    cfg = cls.config_class.from_dict(copy.deepcopy(config))
    cfg._attn_implementation = cfg._experts_implementation = "eager"
    return cls.from_pretrained(folder, config=cfg, dtype=torch.float32).eval()


def initialise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.copy_(0.15 * torch.randn(p.shape, generator=g))


def compute(model, ids, coef):
    out = model(ids, use_cache=False)
    logp = torch.log_softmax(out.logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]
    (coef * logp).sum().backward()
    got = {"input_ids": ids.int(), "logits": out.logits, "coef": coef}
    for name, p in model.named_parameters():
        if "lora_" in name:
            got["grad." + name.replace(".default.", ".")] = p.grad
    return {k: v.detach().contiguous() for k, v in got.items()}


def make(folder, name, seed):
    base, options = CASES[name]
    model = build(ROOT / base)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
    initialise(adapted, seed)
    case = folder / name
    adapted.save_pretrained(case)
    (case / "README.md").unlink(missing_ok=True)
    config = json.loads((case / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "../../../../" + base
    (case / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    g = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(2, model.config.vocab_size, (2, 24), generator=g)
    coef = torch.randn(2, 23, generator=g)
    save_file(compute(adapted, ids, coef), case / "golden.safetensors")
    print(f"{name}: {sum(f.stat().st_size for f in case.iterdir())} bytes")


def logits(base, adapter):
    model = PeftModel.from_pretrained(build(base), adapter).eval()
    for line in sys.stdin:
        with torch.no_grad():
            out = model(torch.tensor([json.loads(line)]), use_cache=False).logits[0]
        sys.stdout.buffer.write(out.float().numpy().astype("<f4").tobytes())


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description="make golden cases of adapters, or compute with one")
    ap.add_argument("--out", type=pathlib.Path, default=ROOT / "checkpoint/testdata/adapter")
    ap.add_argument("--logits", nargs=2, type=pathlib.Path, metavar=("BASE", "ADAPTER"))
    args = ap.parse_args()
    torch.set_num_threads(1)
    if args.logits:
        logits(*args.logits)
        sys.exit()
    for i, name in enumerate(CASES):
        make(args.out, name, 100 * i + 3)
