#!/usr/bin/env python3
"""Make the project's own golden cases with PyTorch and transformers.

A case is a folder with config.json, model.safetensors and golden.safetensors: a tiny
DeepseekV3ForCausalLM with random weights, and what transformers computes from it in
float32 on a CPU with eager attention. transformers drops the MTP module on loading,
so it is written here from the V3 report (section 2.2) with transformers' own layer
classes. For developers; neither users nor `go test` need Python.

    pip install torch transformers safetensors numpy
    scripts/make_tiny_golden.py                      # rewrite model/deepseek/testdata/golden
    scripts/make_tiny_golden.py --check FOLDER...    # recompute cases from their weights, compare

Tensors of golden.safetensors (B sequences of T tokens, vocabulary V, width D):

    input_ids [B,T] int32; logits, bf16.logits [B,T,V]; hidden.I [B,T,D], 0 = embedding,
    the last one after the final norm; route.NAME.experts, .weights [B,T,k] ascending;
    loss [1]; mtp.logits [B,T-1,V], mtp.loss [1]; total_loss [1] = loss + 0.3 mtp.loss;
    grad.NAME of total_loss; greedy (prompt and 16 greedy tokens), greedy.prompt_len
"""
import argparse
import copy
import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM
from transformers.models.deepseek_v3.modeling_deepseek_v3 import (
    DeepseekV3DecoderLayer,
    DeepseekV3RMSNorm,
)

MTP_LAMBDA = 0.3
GREEDY = 16

YARN = {
    # q-LoRA, YaRN, groups, two shared experts, MTP; no dimension equals another's.
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "vocab_size": 120,
    "hidden_size": 40,
    "intermediate_size": 52,
    "moe_intermediate_size": 11,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "n_shared_experts": 2,
    "n_routed_experts": 8,
    "routed_scaling_factor": 1.75,
    "kv_lora_rank": 18,
    "q_lora_rank": 22,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 14,
    "v_head_dim": 10,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "norm_topk_prob": True,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "hidden_act": "silu",
    "max_position_embeddings": 96,
    "rms_norm_eps": 1e-06,
    "rope_theta": 5000.0,
    "rope_interleave": True,
    "rope_scaling": {
        "type": "yarn",
        "factor": 6.0,
        "original_max_position_embeddings": 16,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 0.8,
    },
    "attention_bias": False,
    "tie_word_embeddings": False,
    "num_nextn_predict_layers": 1,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "torch_dtype": "float32",
}

PLAIN = {
    # A plain q projection, no YaRN, one group, every layer sparse, no MTP, unnormalised
    # weights, and the newer spelling of the rope keys.
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "vocab_size": 56,
    "hidden_size": 20,
    "intermediate_size": 24,
    "moe_intermediate_size": 9,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "n_shared_experts": 1,
    "n_routed_experts": 5,
    "routed_scaling_factor": 1.0,
    "kv_lora_rank": 14,
    "q_lora_rank": None,
    "qk_rope_head_dim": 6,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 0,
    "norm_topk_prob": False,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "hidden_act": "silu",
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-06,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "rope_interleave": True,
    "attention_bias": False,
    "tie_word_embeddings": False,
    "num_nextn_predict_layers": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "dtype": "float32",
}

CASES = {"tiny_yarn_mtp": (YARN, 31, 2, 19), "tiny_plain": (PLAIN, 47, 2, 11)}


class MTP(torch.nn.Module):
    """One MTP module of depth 1: a projection of [norm(embedding of the next token);
    norm(hidden state)] and a decoder layer; embedding and head are the main model's."""

    def __init__(self, cfg):
        super().__init__()
        d = cfg.hidden_size
        self.enorm = DeepseekV3RMSNorm(d, eps=cfg.rms_norm_eps)
        self.hnorm = DeepseekV3RMSNorm(d, eps=cfg.rms_norm_eps)
        self.eh_proj = torch.nn.Linear(2 * d, d, bias=False)
        self.block = DeepseekV3DecoderLayer(cfg, cfg.num_hidden_layers)
        self.norm = DeepseekV3RMSNorm(d, eps=cfg.rms_norm_eps)

    def forward(self, main, hidden, ids):
        """Logits [B,T-1,V] for the token after next, from the final hidden states."""
        x = torch.cat([self.enorm(main.model.embed_tokens(ids[:, 1:])), self.hnorm(hidden[:, :-1])], -1)
        x = self.eh_proj(x)
        t = x.shape[1]
        pos = torch.arange(t)[None]
        mask = torch.full((t, t), float("-inf")).triu(1)[None, None].to(x.dtype)
        rope = main.model.rotary_emb(x, pos)
        x = self.block(x, attention_mask=mask, position_ids=pos, position_embeddings=rope)
        return main.lm_head(self.norm(x))


def parameters(main, mtp):
    """Name in the file -> tensor, or (tensor, expert, first row, rows) for an expert's
    part of a fused one."""
    out = {}

    def walk(prefix, module):
        tensors = dict(module.named_parameters()) | dict(module.named_buffers())
        for name, p in tensors.items():
            if "rotary_emb" in name:
                continue
            name = prefix + name
            if not name.endswith(("gate_up_proj", "experts.down_proj")) or "shared_experts" in name:
                out[name] = p
                continue
            head, _, kind = name.rpartition(".")
            for e in range(p.shape[0]):
                if kind == "down_proj":
                    out[f"{head}.{e}.down_proj.weight"] = (p, e, 0, p.shape[1])
                else:
                    half = p.shape[1] // 2
                    out[f"{head}.{e}.gate_proj.weight"] = (p, e, 0, half)
                    out[f"{head}.{e}.up_proj.weight"] = (p, e, half, half)

    walk("", main)
    if mtp is not None:
        at = f"model.layers.{main.config.num_hidden_layers}."
        walk(at, mtp.block)
        for name in ("enorm", "hnorm", "eh_proj"):
            out[f"{at}{name}.weight"] = getattr(mtp, name).weight
        out[at + "shared_head.norm.weight"] = mtp.norm.weight
    return out


def part(v, of=lambda t: t):
    """The tensor that a value of parameters() stands for."""
    if isinstance(v, tuple):
        p, e, first, rows = v
        return of(p)[e, first : first + rows]
    return of(v)


def build(config):
    # transformers rewrites the dictionaries it is given.
    cfg = DeepseekV3Config(**copy.deepcopy(config))
    cfg._attn_implementation = "eager"
    cfg._experts_implementation = "eager"
    main = DeepseekV3ForCausalLM(cfg).float().eval()
    mtp = MTP(main.config).float().eval() if config.get("num_nextn_predict_layers") else None
    return main, mtp


@torch.no_grad()
def initialise(main, mtp, seed):
    """Weights far enough from zero for every part to matter in the results."""
    g = torch.Generator().manual_seed(seed)
    for name, v in sorted(parameters(main, mtp).items()):
        p = part(v)
        n = torch.randn(p.shape, generator=g)
        if name.endswith("e_score_correction_bias"):
            p.copy_(0.1 * n)
        elif p.dim() == 1:
            p.copy_(1 + 0.15 * n)
        elif "embed_tokens" in name:
            p.copy_(n)
        else:
            p.copy_(1.2 * n / p.shape[1] ** 0.5)


def weights(main, mtp):
    """The checkpoint's tensors, with the copies of embedding and head that the MTP
    module has in DeepSeek's files."""
    out = {name: part(v).detach().clone().contiguous() for name, v in parameters(main, mtp).items()}
    if mtp is not None:
        at = f"model.layers.{main.config.num_hidden_layers}."
        out[at + "embed_tokens.weight"] = out["model.embed_tokens.weight"].clone()
        out[at + "shared_head.head.weight"] = out["lm_head.weight"].clone()
    return out


@torch.no_grad()
def read(main, mtp, file):
    stored = load_file(file)
    for name, v in parameters(main, mtp).items():
        part(v).copy_(stored[name])


def routes(main, run):
    """Runs run() and collects (experts, weights) of every gate."""
    got, hooks = {}, []
    for name, m in main.named_modules():
        if name.endswith("mlp.gate"):
            hooks.append(m.register_forward_hook(lambda _m, _i, o, name=name: got.__setitem__(name, (o[2], o[1]))))
    result = run()
    for h in hooks:
        h.remove()
    return result, got


def hidden_states(main, ids):
    """The embedding, the output of every layer but the last, and the final norm's."""
    out, hooks = [main.model.embed_tokens(ids)], []
    for layer in main.model.layers[:-1]:
        hooks.append(layer.register_forward_hook(lambda _m, _i, o: out.append(o)))
    out.append(main.model(ids, use_cache=False).last_hidden_state)
    for h in hooks:
        h.remove()
    return out


def compute(main, mtp, ids, prompt):
    """Every tensor of golden.safetensors."""
    b, t = ids.shape
    out = {"input_ids": ids.to(torch.int32)}
    hidden, route = routes(main, lambda: hidden_states(main, ids))
    for i, h in enumerate(hidden):
        out[f"hidden.{i}"] = h
    for name, (experts, weight) in route.items():
        order = experts.argsort(-1)
        out[f"route.{name}.experts"] = experts.gather(-1, order).view(b, t, -1).to(torch.int32)
        out[f"route.{name}.weights"] = weight.gather(-1, order).view(b, t, -1)
    logits = main.lm_head(hidden[-1])
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    out |= {"logits": logits, "loss": loss[None]}
    total = loss
    if mtp is not None:
        m = mtp(main, hidden[-1], ids)
        mtp_loss = F.cross_entropy(m[:, :-1].flatten(0, 1), ids[:, 2:].flatten())
        out |= {"mtp.logits": m, "mtp.loss": mtp_loss[None]}
        total = loss + MTP_LAMBDA * mtp_loss
    out["total_loss"] = total[None]
    main.zero_grad(), mtp and mtp.zero_grad()
    total.backward()
    for name, v in parameters(main, mtp).items():
        if not name.endswith("e_score_correction_bias"):
            out["grad." + name] = part(v, lambda p: p.grad)
    out["bf16.logits"] = low_precision(main, ids)
    ids16, _ = greedy(main, prompt)
    out["greedy"] = ids16.to(torch.int32)
    out["greedy.prompt_len"] = torch.tensor([len(prompt)], dtype=torch.int32)
    return {k: v.detach().clone().contiguous() for k, v in out.items()}


@torch.no_grad()
def low_precision(main, ids):
    """Logits of the same model in bfloat16; the selection bias stays in float32."""
    half = copy.deepcopy(main)
    for p in half.parameters():
        p.data = p.data.bfloat16()
    return half(ids, use_cache=False).logits.float()


@torch.no_grad()
def greedy(main, prompt):
    """Prompt and greedy continuation, and the least margin between the best two."""
    ids, margin = prompt.clone(), float("inf")
    for _ in range(GREEDY):
        top = main(ids[None], use_cache=False).logits[0, -1].topk(2)
        margin = min(margin, float(top.values[0] - top.values[1]))
        ids = torch.cat([ids, top.indices[:1]])
    return ids, margin


@torch.no_grad()
def route_margin(main, ids):
    """The least distance between a chosen and a passed-over expert or group."""
    least = float("inf")

    def hook(m, args, _out):
        x = args[0].view(-1, m.hidden_dim)
        s = F.linear(x, m.weight).sigmoid() + m.e_score_correction_bias
        nonlocal least
        groups = s.view(len(s), m.num_group, -1)
        if m.num_group > m.topk_group:
            g = groups.topk(2, -1).values.sum(-1).sort(-1, descending=True).values
            least = min(least, float((g[:, m.topk_group - 1] - g[:, m.topk_group]).min()))
            keep = groups.topk(2, -1).values.sum(-1).topk(m.topk_group, -1).indices
            mask = torch.zeros(len(s), m.num_group).scatter_(1, keep, 1).bool()
            s = groups.masked_fill(~mask[..., None], -9).flatten(1)
        v = s.sort(-1, descending=True).values
        least = min(least, float((v[:, m.top_k - 1] - v[:, m.top_k]).min()))

    hooks = [m.register_forward_hook(hook) for n, m in main.named_modules() if n.endswith("mlp.gate")]
    main(ids, use_cache=False)
    for h in hooks:
        h.remove()
    return least


def choose(main, vocab, b, t, seed):
    """Tokens without near-ties in routing, and a prompt without near-ties in greedy
    decoding, so that rounding alone decides nothing."""
    g = torch.Generator().manual_seed(seed + 1)
    draw = lambda *shape: torch.randint(2, vocab, shape, generator=g)
    ids = max((draw(b, t) for _ in range(150)), key=lambda x: route_margin(main, x))
    prompt = max((draw(n) for n in range(4, 9) for _ in range(12)), key=lambda p: greedy(main, p)[1])
    print(f"  least margins: routing {route_margin(main, ids):.1e}, greedy {greedy(main, prompt)[1]:.1e}")
    return ids, prompt


def make(folder, name):
    config, seed, b, t = CASES[name]
    main, mtp = build(config)
    initialise(main, mtp, seed)
    print(name)
    ids, prompt = choose(main, config["vocab_size"], b, t, seed)
    case = folder / name
    case.mkdir(parents=True, exist_ok=True)
    (case / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    save_file(weights(main, mtp), case / "model.safetensors", metadata={"format": "pt"})
    save_file(compute(main, mtp, ids, prompt), case / "golden.safetensors")
    print(f"  {sum(f.stat().st_size for f in case.iterdir())} bytes in {case}")


def check(case):
    """Recomputes a case from its config, weights and tokens; prints the worst errors."""
    config = json.loads((case / "config.json").read_text())
    main, mtp = build(config)
    read(main, mtp, case / "model.safetensors")
    want = load_file(case / "golden.safetensors")
    n = int(want["greedy.prompt_len"][0])
    got = compute(main, mtp, want["input_ids"].long(), want["greedy"][:n].long())
    if got.keys() != want.keys():
        print(f"{case.name}: only here {sorted(got.keys() - want.keys())}, only there {sorted(want.keys() - got.keys())}")
    worst = {}
    for name, w in want.items():
        if name not in got:
            continue
        kind = name if "logits" in name else name.split(".")[0]
        g, w = got[name].double(), w.double()
        err = float((g - w).norm() / w.norm().clamp_min(1e-30)) if w.norm() else float(g.norm())
        worst[kind] = max(worst.get(kind, 0.0), err)
    print(f"{case.name}: worst relative errors " + ", ".join(f"{k} {v:.1e}" for k, v in sorted(worst.items())))
    return all(v < 1e-4 for k, v in worst.items() if k != "bf16.logits")


if __name__ == "__main__":
    root = pathlib.Path(__file__).resolve().parent.parent
    ap = argparse.ArgumentParser(description="make or check golden cases")
    ap.add_argument("--out", type=pathlib.Path, default=root / "model/deepseek/testdata/golden")
    ap.add_argument("--check", type=pathlib.Path, nargs="+", metavar="FOLDER")
    args = ap.parse_args()
    torch.set_num_threads(1)  # the same sums on every machine's number of cores
    if args.check:
        raise SystemExit(0 if all([check(c) for c in args.check]) else 1)
    for name in CASES:
        make(args.out, name)
