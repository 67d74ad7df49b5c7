#!/usr/bin/env python3
"""Compare Sonde's ids and decoded text with those of Hugging Face's `tokenizers`.

    pip install tokenizers
    python3 scripts/check_tokenizer.py                         # trains on GOROOT/src first
    python3 scripts/check_tokenizer.py runs/go/tokenizer.json  # a tokenizer you have
    python3 scripts/check_tokenizer.py tokenizer.json PATH...  # on these files and folders

Without paths the text is Go source, Chinese, emoji and random Unicode (control
tokens among it). With --trainer the merges are compared, too, with those that the
library's own trainer finds (on files without pieces that Sonde cuts for counting).
For developers; nothing in Sonde needs Python.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

MAX_PIECE = 256  # the longest piece that Sonde's trainer counts whole, in bytes
ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLES = [
    "深度求索发布了新模型。2026年11月24日，１２３４５６７ ",
    "日本語のテキスト・カタカナ、ひらがな。゛゜ー\u3040\u3097〇",
    "👩‍👩‍👧‍👦 🇩🇪🏳️‍🌈 👍🏽 ❤️ ☺︎ 🫠",
    "naïve café e\u0301 a\u0308 Ω≈ç√ ½ ² Ⅷ ① ٣٤٥ ๑๒๓",
    " \t \u00a0\u2003\u3000 \r\n\r\n  x\n   \n y  \u200b\u200d\ufeff z",
    "don't we'll I'VE <b>&amp;</b> _x__ $a->b[0]; // /* */ a.b.c ...!!!\n\n\n",
    "עברית العربية हिन्दी ไทย 한국어 Ελληνικά Привет",
]


def output(*command: str) -> bytes:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} ... failed")
    return done.stdout


def go(*args: str) -> bytes:
    return output("go", *args)


def go_source(limit: int) -> list[pathlib.Path]:
    src = pathlib.Path(go("env", "GOROOT").decode().strip()) / "src"
    out = []
    for p in sorted(src.rglob("*.go")):
        out.append(p)
        limit -= p.stat().st_size
        if limit < 0:
            break
    return out


def random_texts(seed: int, n: int, control: list[str]) -> list[str]:
    rng = random.Random(seed)
    ranges = [(32, 127), (0, 0x250), (0x300, 0x370), (0x600, 0x700), (0x2000, 0x2100), (0x3000, 0x3100),
              (0x4E00, 0x9FFF), (0xFE00, 0xFFFF), (0x1F300, 0x1FAFF), (0x20000, 0x20100), (0, 0x110000)]
    words = ["the", " func", "return", "   ", "\n\n", "\r\n", "123", "4567", "中文", "ひらがな", "'s", "...", "\t"]
    out = []
    for _ in range(n):
        parts = []
        for _ in range(rng.randrange(1, 40)):
            kind = rng.random()
            if kind < 0.3:
                parts.append(rng.choice(words))
            elif kind < 0.35 and control:
                parts.append(rng.choice(control))
            else:
                lo, hi = rng.choice(ranges)
                c = rng.randrange(lo, hi)
                parts.append("" if 0xD800 <= c < 0xE000 else chr(c) * rng.choice([1, 1, 1, 2, 3]))
        out.append("".join(parts))
    return out


def utf8_files(paths: list[str]) -> list[pathlib.Path]:
    out = []
    for p in map(pathlib.Path, paths):
        for f in sorted(p.rglob("*")) if p.is_dir() else [p]:
            try:
                if f.is_file() and f.read_bytes().decode():
                    out.append(f)
            except UnicodeDecodeError:
                print(f"skipped, not UTF-8: {f}")
    return out


def merges_of(tokenizer: dict) -> list[tuple]:
    return [tuple(m.split(" ") if isinstance(m, str) else m) for m in tokenizer["model"]["merges"]]


def check_trainer(binary: str, vocab: int, path: pathlib.Path, files: list[pathlib.Path]) -> int:
    pre = Tokenizer.from_file(str(path)).pre_tokenizer
    files = [f for f in files if all(len(p) <= MAX_PIECE for p, _ in pre.pre_tokenize_str(f.read_bytes().decode(errors="ignore")))]
    ours = json.loads(output(binary, "train", str(vocab), *map(str, files)))
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre
    theirs.train_from_iterator(
        (f.read_bytes().decode(errors="ignore") for f in files),
        trainers.BpeTrainer(vocab_size=len(ours["model"]["vocab"]), min_frequency=2, show_progress=False,
                            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                            special_tokens=[t["content"] for t in ours["added_tokens"][:3]]))
    a, b = merges_of(ours), merges_of(json.loads(theirs.to_str()))
    different = sum(x != y for x, y in zip(a, b)) + abs(len(a) - len(b))
    print(f"trainer: {len(files)} files, {len(a)} merges, {different} differ from the library's trainer")
    return different


def check_ids(binary: str, path: pathlib.Path, theirs: Tokenizer, files: list[pathlib.Path]) -> int:
    bad = tokens = size = 0
    for k in range(0, len(files), 500):
        some = files[k : k + 500]
        lines = output(binary, "ids", str(path), *map(str, some))
        for f, line in zip(some, lines.decode().split("\n"), strict=False):
            ours, data = json.loads(line), f.read_bytes().decode()
            want = theirs.encode(data, add_special_tokens=False).ids
            text = theirs.decode(want, skip_special_tokens=False)
            tokens, size = tokens + len(want), size + len(data.encode())
            if (ours["ids"] or []) != want or ours["text"] != text:
                bad += 1
                if bad <= 5:
                    print(f"DIFFERS {f}: {data[:80]!r}")
    print(f"{path}: {len(files)} texts, {size} bytes, {tokens} tokens: {bad} differ")
    return bad


def main() -> int:
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("tokenizer", nargs="?", type=pathlib.Path)
    ap.add_argument("paths", nargs="*")
    ap.add_argument("--vocab", type=int, default=4096, help="size of the tokenizer that is trained")
    ap.add_argument("--megabytes", type=int, default=20, help="Go source to train on and to compare")
    ap.add_argument("--random", type=int, default=5000, help="random texts")
    ap.add_argument("--trainer", action="store_true", help="compare the merges with the library's trainer")
    args = ap.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as tmp:
        dir = pathlib.Path(tmp)
        binary = str(dir / "tokids")
        go("build", "-o", binary, "./internal/tokids")
        source = go_source(args.megabytes << 20)
        path = args.tokenizer
        if path is None:
            path = dir / "tokenizer.json"
            path.write_bytes(output(binary, "train", str(args.vocab), *map(str, source)))
        if args.trainer:
            bad += check_trainer(binary, args.vocab, path, source)
        theirs = Tokenizer.from_file(str(path))
        files = utf8_files(args.paths or source)
        if not args.paths:
            control = [t["content"] for t in json.loads(path.read_text())["added_tokens"]][-30:]
            for i, s in enumerate(SAMPLES + random_texts(1, args.random, control)):
                files.append(dir / f"text{i}.txt")
                files[-1].write_bytes(s.encode())
        bad += check_ids(binary, path, theirs, files)
        again = dir / "again.json"
        again.write_bytes(output(binary, "rewrite", str(path)))
        bad += check_ids(binary, again, Tokenizer.from_file(str(again)), files[-1000:])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
