"""No name from a file reaches a terminal as it is when it could forge or hide what stands around it: every code point, through every
command that prints names, as text and as JSON."""

import json
import os
import shutil
import struct
import subprocess

import pytest
from commands import TINY

HIDDEN = [*range(0x01, 0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
PER_NAME = 60
# Every 7th code point (with VIVA_SLOW=1 each), all that are hidden, and their neighbours; no surrogates, which UTF-8 has not.
STEP = 1 if os.environ.get("VIVA_SLOW") else 7
CODES = sorted({c for h in HIDDEN for c in (h - 1, h, h + 1)} - {0} | set(range(1, 0x110000, STEP)) - set(range(0xD800, 0xE000)))


def names():
    return ["".join(map(chr, CODES[i:i + PER_NAME])) for i in range(0, len(CODES), PER_NAME)]


def gguf_text(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    header = {"__metadata__": {name: name for name in names()[:40]}}
    header |= {name: {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for name in names()}
    text = json.dumps(header, ensure_ascii=False).encode()
    (folder / "names.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    keys = b"".join(gguf_text(name) + struct.pack("<I", 8) + gguf_text(name) for name in names()[:40])
    (folder / "names.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 40) + keys)
    return folder


def shown(out):
    return sorted({hex(ord(c)) for c in out.decode() if ord(c) in HIDDEN and c not in "\n\t"})  # those the table itself is made of


@pytest.mark.parametrize("file", ["names.safetensors", "names.gguf"])
@pytest.mark.parametrize("options", [["--layers"], ["--json"]])
def test_inspect(program, files, file, options):
    done = subprocess.run([program, "inspect", files / file, *options], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 1000
    assert shown(done.stdout) == [] and shown(done.stderr) == []
    if "--json" in options and file.endswith("safetensors"):
        said = json.loads(done.stdout)
        assert sorted(tensor["name"] for tensor in said["tensors"]) == sorted(names())


@pytest.mark.parametrize("command", [["compress", "-o", "out.viva"], ["analyze"], ["quantize", "--format", "fp8"], ["compare"]])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_arrays(program, tmp_path, command, options):
    """Names in tables and in messages (no model has such tensors)."""
    header, end = {}, 0
    for i in range(0, len(HIDDEN), 40):
        name = "x" + "".join(map(chr, HIDDEN[i:i + 40]))
        header[name], end = {"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]}, end + 4
    text = json.dumps(header, ensure_ascii=False).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
    more = {"quantize": ["out\x9b"], "compare": ["a.safetensors", "-p", "a"]}.get(command[0], [])
    done = subprocess.run([program, command[0], "a.safetensors", *more, *command[1:], *options], capture_output=True, timeout=60,
                          cwd=tmp_path)
    assert done.stdout or done.stderr
    assert shown(done.stdout) == [] and shown(done.stderr) == []


def tokenizer(folder, pieces):
    vocab = {piece: i for i, piece in enumerate(pieces)}
    added = [{"id": i, "content": piece, "special": False} for piece, i in vocab.items()]
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({"version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": {
        "type": "ByteLevel", "add_prefix_space": False}, "post_processor": None, "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "unk_token": None, "vocab": vocab, "merges": []}}))
    return path


def test_tokenize(program, tmp_path):
    pieces = [chr(c) for c in HIDDEN]
    path = tokenizer(tmp_path, pieces)
    (tmp_path / "text").write_text("".join(pieces), newline="")
    done = subprocess.run([program, "tokenize", "-m", path, "-f", tmp_path / "text"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= len(pieces) and shown(done.stdout) == []


# {}: a model in a folder whose name is all that is hidden; []: its floats; the rest of a line names nothing.
PATHS = ["inspect {}", "inspect {} --json", "generate -m {} -p a -n 1", "generate -m {} -p a -n 1 --json", "tokenize -m {} -p a",
         "perplexity -m {} -f [] -c 8", "bench -m {} -r 1 -p 2 -n 0", "bench -m {} -r 1 -p 2 -n 0 -o csv",
         "bench -m {} -r 1 -p 2 -n 0 -o jsonl", "compare {} {} --weights fp8 -f [] -c 8", "compare {} {} --weights fp8 -f [] -c 8 --json",
         "quantize {} {}.fp8 --format fp8 --layers", "quantize {} {}.bf16 --format bf16 --json", "compress {} -o {}.viva",
         "decompress {}.viva -o {}.npz", "decompress {} -o {}.npz", "analyze {}", "debug-decode -m {} -p a", "chat -m {} -p a",
         "memory -f {}.none", "generate -m {} -p a --stop-token {}", "generate -m [] -p a --weights {}", "debug-decode -m {} --dump {}=x",
         "detokenize -m {} {}", "generate --{}", "{}", "help {}"]


def test_paths(program, tmp_path):
    folder = tmp_path / "".join(map(chr, HIDDEN))
    folder.mkdir()
    shutil.copy(TINY, folder / "tiny.gguf")
    (tmp_path / "text").write_text(" ".join(str(i) for i in range(20)))
    codes = []
    for line in PATHS:
        words = [word.replace("{}", str(folder / "tiny.gguf")).replace("[]", str(tmp_path / "text")) for word in line.split(" ")]
        done = subprocess.run([program, *words], capture_output=True, timeout=60)
        assert shown(done.stdout) == [] and shown(done.stderr) == [], line
        codes.append(done.returncode)
    assert codes.count(0) > len(codes) // 2, codes


@pytest.mark.parametrize("code", HIDDEN)
def test_messages(program, tmp_path, code):
    """A tensor's name in the message that refuses it."""
    header = json.dumps({f"a{chr(code)}b": {"dtype": "U8", "shape": [1], "data_offsets": [0, 2]}}, ensure_ascii=False)
    header = header.encode()
    (tmp_path / "bad.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    done = subprocess.run([program, "inspect", tmp_path / "bad.safetensors"], capture_output=True, timeout=60)
    assert done.returncode == 2 and b"\\x" in done.stderr and shown(done.stderr) == []
