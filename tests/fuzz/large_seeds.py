#!/usr/bin/env python3
"""Writes inputs of a megabyte and more for the targets whose formats have large files: large_seeds.py DIR makes DIR/TARGET/NAME.

libFuzzer takes no input of a corpus beyond 1 MB, but runs files that it is given by name: `fuzz_TARGET DIR/TARGET/*`. They are made, and
not kept, because all they have is size: see tests/python/large_files.py.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))
from large_files import CASES  # noqa: E402

# target: the file in the case's folder (None: it is one file), what goes in front of it, the cases
SEEDS = {
    "safetensors": (None, b"", ["many_tensors", "long_names", "too_long_name", "metadata", "metadata_entries", "overlaps", "shape", "spaces",
                                "members"]),
    "gguf": (None, b"", ["gguf_keys", "gguf_strings", "gguf_numbers", "gguf_tensors", "gguf_tokens", "gguf_long_keys", "gguf_template"]),
    "index": ("model.safetensors.index.json", b"", ["index", "index_shards", "index_metadata", "index_long_names"]),
    "config": ("config.json", b"", ["config_keys", "config_depth", "config_eos", "config_list", "config_layer_types", "targets", "ignored",
                                    "viva_modules"]),
    "json": ("config.json", b"", ["config_keys", "config_list", "ignored"]),
    "tokenizer_json": ("tokenizer.json", b"", ["vocab", "merges", "added", "added_long", "template_specials", "normalizers", "replace"]),
    "npy": (None, b"", ["npy_header", "npz_entries"]),
    "chat_template": (None, b"", []),
}
TEMPLATES = {"chat_template": {"text": b"a" * (2 << 20), "parts": b"{{ 'a' }}" * 150000, "conditions": b"{% if a %}b{% endif %}" * 60000}}


def main(out):
    for target, (inner, before, names) in SEEDS.items():
        folder = out / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in TEMPLATES.get(target, {}).items():
            (folder / name).write_bytes(data)
        for name in names:
            with tempfile.TemporaryDirectory() as work:
                path = Path(work) / name
                path = CASES[name](path) or path
                (folder / name).write_bytes(before + (path / inner if inner else path).read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
