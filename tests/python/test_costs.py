"""SECURITY.md: opening costs at most 64 MiB and 2 bytes of memory for each byte of the files, and 1 s for each 10 MB; what would
need more is refused, with the rule's name. A file for each table that a file can make large (large_files.py; docs/testing.md)."""

import os

import pytest
from large_files import CASES
from measured import Run

MIB = 1 << 20
# The program itself, its libraries and what it prints from; measured with the smallest model.
PROGRAM = 16 * MIB
SLOW = bool(os.environ.get("VIVA_SLOW"))
IN_CI = ["many_tensors", "metadata", "shape", "index", "gguf_strings", "gguf_tensors", "config_keys", "patterns", "pattern_nodes", "npz_entries",
         "added_long", "replaced_text", "replaced_tokens", "decoder_patterns", "templates_in_a_row"]
REFUSED = {"too_many_tensors": "the list of tensors", "too_long_name": "a tensor's name of", "gguf_keys": "the list of keys",
           "gguf_tensors": "the list of tensors", "patterns": "matching tensors with the patterns", "shape": "dimensions",
           "metadata": "the metadata", "index": "the index", "pattern_nodes": "the names of quantised modules",
           "replaced_text": "more than 1024 bytes", "replaced_tokens": "the tokenizer would need more memory",
           "decoder_patterns": "its decoder's patterns", "templates_in_a_row": "the tokenizer would need more memory"}


def bytes_of(path):
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size


def commands(path, out):
    if path.suffix in (".npz", ".npy"):
        return [["compress", path, "-o", out], ["analyze", path]]
    all_of_them = [["inspect", path], ["tokenize", "-m", path, "-p", "a b"], ["generate", "-m", path, "-p", "a", "-n", "1"],
                   ["quantize", path, out, "--format", "fp8"], ["compare", path, path, "-p", "a"]]
    if path.is_dir() and not (path / "config.json").exists() and not (path / "model.safetensors.index.json").exists():
        all_of_them[:2] = all_of_them[1::-1]  # a tokenizer alone
    return all_of_them if SLOW else all_of_them[:1]


@pytest.mark.parametrize("name", CASES if SLOW else IN_CI)
def test_opening_costs_what_it_may(program, tmp_path, name):
    path = tmp_path / name
    path = CASES[name](path) or path
    size = bytes_of(path)
    for i, command in enumerate(commands(path, tmp_path / "out")):
        run = Run([program, *command])
        what = f"{command[0]}, {size / 1e6:.1f} MB: code {run.code}, {run.seconds:.2f} s, {run.rss / 1024:.0f} MiB: {run.stderr[:300]}"
        print(what)
        assert run.code in (0, 2, 3), what
        if name in REFUSED and i == 0:
            assert run.code != 0 and REFUSED[name] in run.stderr, what
        opened = 2 if command[0] == "compare" else 1  # at once
        assert run.rss * 1024 <= PROGRAM + opened * (64 * MIB + 2 * size), what
        # Some commands open twice: for the plan, and for what they do. Twice more for a machine that runs other tests.
        assert run.seconds <= 4 * (0.1 + size / 10e6), what
