"""SECURITY.md: opening costs at most 64 MiB and 2 bytes of memory for each byte of the files, and 1 s for each 10 MB; what would
need more is refused, with the rule's name. A file for each table that a file can make large (docs/testing.md lists them)."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

TINY = Path(__file__).resolve().parent.parent / "golden" / "tiny.gguf"
MIB = 1 << 20
# The program itself, its libraries and what it prints from; measured with the smallest model.
PROGRAM = 16 * MIB
SLOW = bool(os.environ.get("VIVA_SLOW"))
LARGE = 8 if SLOW else 1  # times a size that CI can afford


def safetensors(path, header, data=b""):
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def tensors(path, count, name=b"%x", wide=b""):
    entries = (b'"%s%s":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % (wide, name % i) for i in range(count))
    safetensors(path, b"{" + b",".join(entries) + b"}")


def text(data):
    return struct.pack("<Q", len(data)) + data


def gguf(path, values=(), descriptions=()):
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, len(descriptions), len(values)) + b"".join(values) + b"".join(descriptions))


def quantised(folder, patterns, names, size=1):
    """A folder of FP8 matrices whose modules are matched with patterns."""
    folder.mkdir()
    weights = {"num_bits": 8, "type": "float", "strategy": "channel"}
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 32,
              "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
              "vocab_size": 64, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4}
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {
        "quant_method": "compressed-tensors", "format": "float-quantized",
        "config_groups": {"g": {"targets": patterns, "weights": weights}}}}))
    header = {name: {"dtype": "F8_E4M3", "shape": [1, 1], "data_offsets": [i, i + 1]} for i, name in enumerate(names)}
    safetensors(folder / "model.safetensors", json.dumps(header).encode(), bytes(len(names)))


def make_many_tensors(path):
    tensors(path, 60000 * LARGE)


def make_too_many_tensors(path):
    tensors(path, 400000 * LARGE)


def make_long_names(path):
    tensors(path, 10000 * LARGE, wide=b"n" * 247)


def make_too_long_name(path):
    tensors(path, 1, wide=b"n" * 4 * MIB)


def make_metadata(path):
    safetensors(path, b'{"__metadata__":{' + b",".join(b'"%x":""' % i for i in range(700000 * LARGE)) + b"}}")


def make_metadata_value(path):
    safetensors(path, b'{"__metadata__":{"a":"' + b"\\u0041" * (2 * MIB * LARGE) + b'"}}')


def make_shape(path):
    safetensors(path, b'{"a":{"dtype":"U8","shape":[' + b",".join([b"1"] * (2 * MIB * LARGE)) + b'],"data_offsets":[0,0]}}')


def make_spaces(path):
    safetensors(path, b"{" + b" " * (12 * MIB * LARGE) + b"}")


def make_index(path):
    path.mkdir()
    names = b",".join(b'"%x":"a"' % i for i in range(300000 * LARGE))
    (path / "model.safetensors.index.json").write_bytes(b'{"weight_map":{' + names + b"}}")


def make_gguf_keys(path):
    gguf(path, [text(b"%x" % i) + struct.pack("<IB", 0, 1) for i in range(400000 * LARGE)])


def make_gguf_strings(path):
    gguf(path, [text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, MIB * LARGE) + bytes(8 * MIB * LARGE)])


def make_gguf_tensors(path):
    gguf(path, [], [text(b"%x" % i) + struct.pack("<IQIQ", 1, 1, 24, 0) for i in range(200000 * LARGE)])


def make_config_keys(path):
    quantised(path, ["Linear"], ["a.weight"])
    (path / "config.json").write_text(json.dumps({f"{i:x}": 0 for i in range(100000 * LARGE)}))


def make_config_depth(path):
    quantised(path, ["Linear"], ["a.weight"])
    (path / "config.json").write_text('{"a":' + "[" * 4 * MIB)


def make_patterns(path):
    quantised(path, ["re:" + ".*" * 100 + f"{i:05x}!" for i in range(1500)], [f"{'a' * 190}{i}.weight" for i in range(100)])


def make_pattern_nodes(path):
    quantised(path, ["re:" + "a?" * 118 + str(i % 10) for i in range(4000)], ["b.weight"])


def letters():
    """GPT-2's byte alphabet."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) if byte in plain else chr(256 + sum(b not in plain for b in range(byte))) for byte in range(256)]


def tokenizer(path, vocab=None, merges=(), **parts):
    vocab = {letter: i for i, letter in enumerate(letters())} if vocab is None else vocab
    byte_level = {"type": "ByteLevel", "add_prefix_space": False}
    path.write_text(json.dumps({"pre_tokenizer": byte_level, "decoder": {"type": "ByteLevel"}} | parts |
                               {"model": {"type": "BPE", "vocab": vocab, "merges": list(merges)}}))


def added(*texts):
    return [{"id": 256 + i, "content": text} for i, text in enumerate(texts)]


def make_tokens_added_long(path):
    tokenizer(path, added_tokens=added("a" * (MIB // 2), "a" * (MIB // 2 - 1) + "b", "b" + "a" * (MIB // 2 - 2)))


def make_tokens_added_too_long(path):
    tokenizer(path, added_tokens=added("a" * 8 * MIB * LARGE))


def make_tokens_added_many(path):
    tokenizer(path, added_tokens=added(*(f"{'x' * 40}{i:x}{'y' * 40}" for i in range(10000 * LARGE))))


def make_tokens_many(path):
    tokenizer(path, {f"{i:x}": i for i in range(250000 * LARGE)})


def make_tokens_merges(path):
    """All ways to cut strings of two letters."""
    words = [format(i, "b").replace("0", "a").replace("1", "b")[1:] for i in range(2, 1 << 15)]
    merges = (f"{word[:k]} {word[k:]}" for word in words for k in range(1, len(word)))
    tokenizer(path, {word: i for i, word in enumerate(words)} | {x: 40000 + i for i, x in enumerate(letters()) if x not in "ab"},
              merges)


def make_tokens_templates(path):
    piece = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "z"}}] * 255 + [{"Sequence": {"id": "A"}}],
             "special_tokens": {"z": {"ids": [0] * 256}}}
    tokenizer(path, post_processor={"type": "Sequence", "processors": [piece] * 64})


def make_tokens_patterns(path):
    """A pattern that takes exponential time, over every token."""
    tokenizer(path, {"a" * 13 + f"{i:x}": i for i in range(30000 * LARGE)}, decoder={"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}, {"type": "Fuse"}]})


def make_tokens_replaced(path):
    tokenizer(path, decoder={"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}] * 8 + [{"type": "Fuse"}]})


def make_tokens_text(path):
    """Not what is opened but what is encoded: each letter twice, 60 times over."""
    tokenizer(path, normalizer={"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 60})


CASES = {name[5:]: made for name, made in sorted(globals().items()) if name.startswith("make_")}
REFUSED = {"too_many_tensors": "the list of tensors", "too_long_name": "a tensor's name of", "gguf_keys": "the list of keys",
           "gguf_tensors": "the list of tensors", "patterns": "matching tensors with the patterns", "shape": "dimensions",
           "metadata": "the metadata", "index": "the index", "pattern_nodes": "the names of quantised modules",
           "tokens_added_too_long": "the tokenizer would need more memory", "tokens_templates": "the tokenizer would need more memory",
           "tokens_patterns": "its decoder's patterns", "tokens_replaced": "the tokenizer would need more memory",
           "tokens_text": "more than 1024 bytes"}


def bytes_of(path):
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size


# A small process in between: a child begins with the peak of memory of the process that forks it.
WATCH = """import os, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
os.write(2, done.stderr)"""


def measure(command):
    """Exit code, standard error, CPU seconds, peak of memory in bytes."""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", WATCH, *command], capture_output=True, text=True, errors="replace",
                          check=True, timeout=300)
    code, seconds, peak = done.stdout.split()
    return int(code), done.stderr, float(seconds), int(peak)


@pytest.mark.parametrize("name", CASES)
def test_opening_costs_what_it_may(program, tmp_path, name):
    path = tmp_path / name
    CASES[name](path)
    size = bytes_of(path)
    commands = [["inspect", path], ["generate", "-m", path, "-p", "a", "-n", "1"]][:2 if SLOW else 1]
    if name.startswith("tokens_"):
        commands = [["tokenize", "-m", path, "-p", "a", "--count"]]
    for command in commands:
        code, said, seconds, peak = measure([program, *map(str, command)])
        assert code in (0, 2, 3), said
        if name in REFUSED and command[0] != "generate":
            assert code != 0 and REFUSED[name] in said
        assert peak <= PROGRAM + 64 * MIB + 2 * size, f"{peak / MIB:.0f} MiB for {size / MIB:.1f}"
        # inspect opens twice: for the plan and for what it prints. Twice more for a machine that runs other tests.
        assert seconds <= 4 * (0.1 + size / 10e6), f"{seconds:.2f} s for {size / 1e6:.1f} MB"
