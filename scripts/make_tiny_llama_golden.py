#!/usr/bin/env python3
"""Make the golden cases of model/llama with PyTorch and transformers.

A case is a folder with config.json, model.safetensors and golden.safetensors: a tiny
model with random weights, and what transformers computes from it in float32 on a CPU
with eager attention. For developers; neither users nor `go test` need Python.

    pip install torch transformers safetensors
    scripts/make_tiny_llama_golden.py      # rewrite model/llama/testdata/golden

Tensors of golden.safetensors are named as in scripts/make_tiny_golden.py, without what
concerns experts and MTP. Each case turns on what the others leave off.
"""
import argparse
import copy
import json
import pathlib

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file

GREEDY = 12

COMMON = {
    "hidden_act": "silu", "rms_norm_eps": 1e-05, "max_position_embeddings": 96, "vocab_size": 44,
    "num_hidden_layers": 2, "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "float32",
}
CASES = {
    "llama_biases": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 24, "intermediate_size": 28,
        "num_attention_heads": 3, "num_key_value_heads": 1, "attention_bias": True, "mlp_bias": True,
        "tie_word_embeddings": False, "rope_theta": 1000.0, "rope_scaling": {"type": "linear", "factor": 3.0},
        "eos_token_id": [1, 2],
    },
    "qwen2_yarn": {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 32, "intermediate_size": 20,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True, "use_sliding_window": False,
        "sliding_window": 8, "max_window_layers": 1,
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 24},
    },
    "qwen3_unrounded": {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 20, "intermediate_size": 36,
        "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 12, "tie_word_embeddings": False,
        "attention_bias": True, "use_sliding_window": False, "sliding_window": None, "rope_theta": 300.0,
        "rope_scaling": {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 32, "truncate": False,
                         "attention_factor": 1.1, "beta_fast": 8, "beta_slow": 2},
    },
    "mistral": {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 24, "intermediate_size": 40,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10, "tie_word_embeddings": False,
        "sliding_window": None, "rope_theta": 10000.0,
    },
}


def build(config, dtype=torch.float32):
    cls = getattr(transformers, config["architectures"][0])
    cfg = cls.config_class.from_dict(copy.deepcopy(config))
    cfg._attn_implementation = "eager"
    return cls(cfg).to(dtype).eval()


def initialise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            p.copy_(0.2 * noise if p.dim() == 2 else 0.3 * noise if name.endswith("bias") else 1 + 0.2 * noise)


def greedy(model, prompt):
    """The prompt, its greedy tokens, and the least margin between the best two."""
    ids, least = prompt.clone(), float("inf")
    with torch.no_grad():
        for _ in range(GREEDY):
            top = model(ids[None], use_cache=False).logits[0, -1].topk(2)
            least = min(least, float(top.values[0] - top.values[1]))
            ids = torch.cat([ids, top.indices[:1]])
    return ids, least


def compute(model, config, ids, prompt):
    out = model(ids, output_hidden_states=True, use_cache=False)
    loss = F.cross_entropy(out.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    half = build(config, torch.bfloat16)
    half.load_state_dict({k: v.to(torch.bfloat16) for k, v in model.state_dict().items()})
    with torch.no_grad():
        got = {"bf16.logits": half(ids, use_cache=False).logits.float()}
    got |= {f"hidden.{i}": h for i, h in enumerate(out.hidden_states)}
    got |= {f"grad.{n}": p.grad for n, p in model.named_parameters()}
    got |= {"input_ids": ids.int(), "logits": out.logits, "loss": loss[None], "greedy": greedy(model, prompt)[0].int(),
            "greedy.prompt_len": torch.tensor([len(prompt)], dtype=torch.int32)}
    return {k: v.detach().contiguous() for k, v in got.items()}


def make(folder, name, seed):
    config = COMMON | CASES[name]
    model = build(config)
    initialise(model, seed)
    g = torch.Generator().manual_seed(seed + 1)
    draw = lambda *shape: torch.randint(2, config["vocab_size"], shape, generator=g)
    ids = draw(2, 40)
    prompt = max((draw(n) for n in range(4, 9) for _ in range(8)), key=lambda p: greedy(model, p)[1])
    case = folder / name
    case.mkdir(parents=True, exist_ok=True)
    (case / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    save_file({n: p.detach().clone().contiguous() for n, p in model.named_parameters()}, case / "model.safetensors", metadata={"format": "pt"})
    save_file(compute(model, config, ids, prompt), case / "golden.safetensors")
    size = sum(f.stat().st_size for f in case.iterdir())
    print(f"{name}: {size} bytes, least margin of the greedy tokens {greedy(model, prompt)[1]:.1e}")


if __name__ == "__main__":
    root = pathlib.Path(__file__).resolve().parent.parent
    ap = argparse.ArgumentParser(description="make golden cases of model/llama")
    ap.add_argument("--out", type=pathlib.Path, default=root / "model/llama/testdata/golden")
    args = ap.parse_args()
    torch.set_num_threads(1)
    for i, name in enumerate(CASES):
        make(args.out, name, 100 * i + 7)
