#!/usr/bin/env python3
"""Write NOTICE: the modules of others that are linked into the program, with their
licences as they lie in the module cache, and the files of others that lie in the tree.
For developers, after a change of either.

    python3 scripts/make_notice.py
"""
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
PLATFORMS = [("linux", "amd64"), ("linux", "arm64"), ("darwin", "arm64"), ("windows", "amd64")]
FILES = ["LICENSE", "LICENSE.md", "LICENSE.txt", "COPYING", "NOTICE"]

# Files of others that lie in the tree, and their licence.
COPIES = [("uPlot 1.6.32 (serve/web/run/uplot.js, uplot.css)", "serve/web/run/uplot.LICENSE")]

HEAD = """\
Sonde is distributed under the MIT licence in LICENSE.

text/classes_gen.go is a table of character classes computed from the Unicode Character
Database (Copyright (c) 1991-2026 Unicode, Inc.; Unicode License V3,
https://www.unicode.org/license.txt).

num/grid_sets.go holds the point sets of GGUF's formats IQ1, IQ2 and IQ3, which are data of the
format, from llama.cpp and its gguf-py (MIT License, Copyright (c) 2023-2026 The ggml authors).

The program holds the Go standard library, the modules and the files below. Their
licences follow; a text that several share is printed once.
"""


def linked():
    """(path, version, folder) of every module with a package in the program."""
    found = set()
    for goos, goarch in PLATFORMS:
        env = os.environ | {"GOOS": goos, "GOARCH": goarch, "CGO_ENABLED": "0"}
        form = "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}{{end}}"
        out = subprocess.run(["go", "list", "-deps", "-f", form, "./cmd/sonde"],
                             cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout
        found |= {tuple(line.split("\t")) for line in out.splitlines() if line}
    return sorted(found)


def main():
    goroot = subprocess.run(["go", "env", "GOROOT"], check=True, capture_output=True, text=True).stdout.strip()
    modules = [("the Go standard library", "", goroot)] + linked()
    texts = {}
    for path, version, folder in modules:
        for name in FILES:
            file = pathlib.Path(folder) / name
            if file.exists():
                texts.setdefault(file.read_text().strip("\n"), []).append(f"{path} {version}".strip())
    for name, file in COPIES:
        texts.setdefault((ROOT / file).read_text().strip("\n"), []).append(name)
    parts = [HEAD]
    for text, names in texts.items():
        parts.append("=" * 78 + "\n" + "\n".join(names) + "\n" + "-" * 78 + "\n" + text + "\n")
    (ROOT / "NOTICE").write_text("\n".join(parts))
    print(f"NOTICE: {len(modules)} modules, {len(COPIES)} copies, {len(texts)} texts")


if __name__ == "__main__":
    main()
