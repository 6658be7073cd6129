"""A file, or folder, for each table that a file can make large: make_NAME(path) writes it, a few megabytes; times LARGE with
VIVA_SLOW=1. docs/testing.md has the list, with what bounds each table."""

import base64
import json
import os
import struct
import zipfile
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
MIB = 1 << 20
LARGE = 8 if os.environ.get("VIVA_SLOW") else 1  # times a size that CI can afford


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


def make_too_many_tensors(path):  # beyond 100 MB no header is read
    tensors(path, min(400000 * LARGE, 1600000))


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


def make_metadata_entries(path):
    safetensors(path, b'{"__metadata__":{' + b",".join(b'"%d":"%s"' % (i, b"v" * 100000) for i in range(40 * LARGE)) + b"}}")


def make_overlaps(path):
    entry = b'"w%d":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}'
    safetensors(path, b"{" + b",".join(entry % i for i in range(40000 * LARGE)) + b"}", bytes(16))


def make_double_names(path):
    entries = [b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(30000 * LARGE)]
    safetensors(path, b"{" + b",".join(entries + entries[-1:]) + b"}")


def make_newlines(path):
    safetensors(path, b"{" + b"\n" * (8 * MIB * LARGE) + b"x}")


def make_dtype(path):
    safetensors(path, b'{"a":{"dtype":"' + b"F" * (4 * MIB * LARGE) + b'","shape":[1],"data_offsets":[0,1]}}', b"0")


def make_digits(path):
    safetensors(path, b'{"a":{"dtype":"U8","shape":[' + b"1" * (2 * MIB * LARGE) + b'],"data_offsets":[0,1]}}', b"0")


def make_members(path):
    safetensors(path, b'{"a":{' + b",".join(b'"m%d":1' % i for i in range(200000 * LARGE)) + b"}}")


def make_index_shards(path):
    path.mkdir()
    names = b",".join(b'"%x":"%x"' % (i, i) for i in range(150000 * LARGE))
    (path / "model.safetensors.index.json").write_bytes(b'{"weight_map":{' + names + b"}}")


def make_index_metadata(path):
    path.mkdir()
    members = b",".join(b'"%x":{"a":[]}' % i for i in range(150000 * LARGE))
    (path / "model.safetensors.index.json").write_bytes(b'{"metadata":{' + members + b'},"weight_map":{"a":"b"}}')


def make_index_long_names(path):
    path.mkdir()
    names = b",".join(b'"%s%d":"a"' % (b"n" * 240, i) for i in range(12000 * LARGE))
    (path / "model.safetensors.index.json").write_bytes(b'{"weight_map":{' + names + b"}}")


def make_gguf_numbers(path):
    gguf(path, [text(b"n") + struct.pack("<IIQ", 9, 0, 8 * MIB * LARGE) + bytes(8 * MIB * LARGE)])


def make_gguf_arrays(path):
    gguf(path, [text(b"%x" % i) + struct.pack("<IIQ", 9, 0, 0) for i in range(150000 * LARGE)])


def make_gguf_long_keys(path):
    gguf(path, [text(b"%05d" % i + b"k" * 65000) + struct.pack("<IB", 0, 1) for i in range(60 * LARGE)])


def make_gguf_long_string(path):
    gguf(path, [text(b"s") + struct.pack("<I", 8) + text(b"s" * (8 * MIB * LARGE))])


def make_gguf_double_keys(path):
    keys = [text(b"%x" % i) + struct.pack("<IB", 0, 1) for i in range(100000 * LARGE)]
    gguf(path, keys + keys[-1:])


def gguf_vocabulary(path, tokens, merges=(), model=b"gpt2"):
    """The small model with another vocabulary."""
    def strings(key, items):
        return text(key) + struct.pack("<IIQ", 9, 8, len(items)) + b"".join(map(text, items))
    gguf(path, [text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama"),
                text(b"tokenizer.ggml.model") + struct.pack("<I", 8) + text(model), strings(b"tokenizer.ggml.tokens", tokens),
                strings(b"tokenizer.ggml.merges", merges)])


def make_gguf_tokens(path):
    gguf_vocabulary(path, [b"%x" % i for i in range(300000 * LARGE)])


def make_gguf_merges(path):
    tokens = [b"a" * n for n in range(1, 600)]
    merges = [b"a" * n + b" " + b"a" * k for n in range(1, 200) for k in range(1, 50 * LARGE) if n + k < 600]
    gguf_vocabulary(path, tokens, merges)


def make_gguf_template(path):
    gguf(path, [text(b"tokenizer.chat_template") + struct.pack("<I", 8) + text(b"{{ a }}" * (MIB * LARGE))])


def config_with(path, **more):
    quantised(path, ["Linear"], ["a.weight"])
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | more))
    return config


def quantization_with(path, **more):
    config = config_with(path)
    (path / "config.json").write_text(json.dumps(config | {"quantization_config": config["quantization_config"] | more}))


def make_config_eos(path):
    config_with(path, eos_token_id=list(range(200000 * LARGE)))


def make_config_architectures(path):
    config_with(path, architectures=["LlamaForCausalLM"] * 40000 * LARGE)


def make_config_layer_types(path):
    config_with(path, layer_types=["full_attention"] * 50000 * LARGE)


def make_config_string(path):
    config_with(path, model_type="l" * MIB * LARGE)


def make_config_list(path):
    config_with(path, unknown=[[]] * 250000 * LARGE)


def make_generation_config(path):
    config_with(path)
    (path / "generation_config.json").write_text(json.dumps({f"{i:x}": 0 for i in range(100000 * LARGE)}))


def make_targets(path):
    quantised(path, [f"model.layers.{i}" for i in range(50000 * LARGE)], ["a.weight"])


def make_ignored(path):
    quantization_with(path, ignore=[f"model.layers.{i}" for i in range(50000 * LARGE)])


def make_groups(path):
    group = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}
    quantization_with(path, config_groups={f"g{i}": group for i in range(10000 * LARGE)})


def make_hf_quant_config(path):
    quantised(path, ["Linear"], ["a.weight"])
    config = json.loads((path / "config.json").read_text())
    config.pop("quantization_config")
    (path / "config.json").write_text(json.dumps(config))
    (path / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8", "exclude_modules": [
        f"model.layers.{i}*" for i in range(50000 * LARGE)]}}))


def make_viva_modules(path):
    quantization_with(path, quant_method="viva", version=1, modules={f"m{i}": {"format": "fp8"} for i in range(30000 * LARGE)})


def make_quantised_matrices(path):
    quantised(path, ["Linear"], [f"m{i}.weight" for i in range(15000 * LARGE)])


# ---- tokenizers

def letters():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(rest)) for b in range(256)]


def tokenizer(path, vocab=None, merges=(), **more):
    model = {"type": "BPE", "unk_token": None, "vocab": vocab or {c: i for i, c in enumerate(letters())}, "merges": list(merges)}
    document = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
                "post_processor": None, "decoder": {"type": "ByteLevel"}, "model": model} | more
    path.mkdir()
    (path / "tokenizer.json").write_text(json.dumps(document))


def words(count, length=4):
    return {c: i for i, c in enumerate(letters())} | {f"{i:0{length}x}": 256 + i for i in range(count)}


def make_vocab(path):
    tokenizer(path, words(120000 * LARGE))


def make_vocab_long(path):
    tokenizer(path, words(20 * LARGE, 100000))


def make_merges(path):
    pairs = [a + b for a in letters()[:100] for b in letters()[:100]]
    vocab = {c: i for i, c in enumerate(letters() + pairs)}
    vocab |= {p + c: len(vocab) + i for i, (p, c) in enumerate((p, c) for p in pairs for c in letters()[:LARGE])}
    tokenizer(path, vocab, [f"{p[0]} {p[1]}" for p in pairs] + [f"{p} {c}" for p in pairs for c in letters()[:LARGE]])


def make_added(path):
    tokenizer(path, added_tokens=[{"id": 256 + i, "content": f"<{i}>", "special": False} for i in range(20000 * LARGE)])


def make_added_long(path):
    tokenizer(path, added_tokens=[{"id": 256 + i, "content": "a" * (200000 + i), "special": False} for i in range(5 * LARGE)])


TEXT = {"Sequence": {"id": "A", "type_id": 0}}


def make_template_pieces(path):
    tokenizer(path, post_processor={"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "z"}}] * 50000 * LARGE + [TEXT],
                                    "special_tokens": {"z": {"ids": [0] * 64}}})


def make_template_specials(path):
    tokenizer(path, post_processor={"type": "TemplateProcessing", "single": [TEXT],
                                    "special_tokens": {f"{i:x}": {"ids": []} for i in range(80000 * LARGE)}})


def make_normalizers(path):
    tokenizer(path, normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}] * 60000 * LARGE})


def make_pretokenizers(path):
    part = {"type": "Split", "pattern": {"Regex": "a+b"}, "behavior": "Isolated", "invert": False}
    tokenizer(path, pre_tokenizer={"type": "Sequence", "pretokenizers": [part] * 20000 * LARGE})


def make_regex(path):
    tokenizer(path, pre_tokenizer={"type": "Split", "pattern": {"Regex": "(ab|c)" * 200000 * LARGE}, "behavior": "Isolated", "invert": False})


def make_replace(path):
    tokenizer(path, normalizer={"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 2 * MIB * LARGE})


def make_replaced_text(path):
    """Not what is opened but what is encoded: each letter twice, 60 times over."""
    tokenizer(path, normalizer={"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 60})


def make_replaced_tokens(path):
    tokenizer(path, decoder={"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}] * 8 + [{"type": "Fuse"}]})


def make_decoder_patterns(path):
    """A pattern that takes exponential time, over every token."""
    tokenizer(path, {"a" * 13 + f"{i:x}": i for i in range(30000 * LARGE)}, decoder={"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}, {"type": "Fuse"}]})


def make_templates_in_a_row(path):
    piece = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "z"}}] * 255 + [TEXT],
             "special_tokens": {"z": {"ids": [0] * 256}}}
    tokenizer(path, post_processor={"type": "Sequence", "processors": [piece] * 64})


def make_vocab_file(path):
    path.mkdir()
    (path / "vocab.json").write_text(json.dumps(words(100000 * LARGE)))
    (path / "merges.txt").write_text("#version: 0.2\n")


def make_merges_file(path):
    path.mkdir()
    (path / "vocab.json").write_text(json.dumps(words(0)))
    (path / "merges.txt").write_text("a b\n" * 500000 * LARGE)


def make_tekken(path):
    path.mkdir()
    ranks = [bytes([i]) for i in range(256)] + [b"%x" % i for i in range(0x1000, 0x1000 + 50000 * LARGE)]
    (path / "tekken.json").write_text(json.dumps({
        "config": {"pattern": "[a-z]+", "num_vocab_tokens": len(ranks), "default_vocab_size": len(ranks) + 2, "default_num_special_tokens": 2,
                   "version": "v3"},
        "vocab": [{"rank": i, "token_bytes": base64.b64encode(b).decode(), "token_str": None} for i, b in enumerate(ranks)],
        "special_tokens": []}))


def make_sentencepiece(path):
    path.mkdir()
    pieces = (b"%x" % i for i in range(200000 * LARGE))
    (path / "tokenizer.model").write_bytes(b"".join(
        b"\x0a" + bytes([len(p) + 7]) + b"\x0a" + bytes([len(p)]) + p + b"\x15\0\0\0\0" for p in pieces))


def make_added_decoder(path):
    tokenizer(path)
    (path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": {
        str(256 + i): {"content": f"<{i}>", "special": True} for i in range(20000 * LARGE)}}))


def make_chat_template(path):
    tokenizer(path)
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{% if a %}{{ b }}{% endif %}" * 80000 * LARGE}))


# ---- arrays

def make_npz_entries(path):
    path = path.with_suffix(".npz")
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(5000 * LARGE):
            archive.writestr(f"{i}.npy", b"\x93NUMPY\1\0\x36\0{'descr':'|u1','fortran_order':False,'shape':(0,)}    \n")
    return path


def make_npy_header(path):
    path = path.with_suffix(".npy")
    header = b"{'descr':'|u1','fortran_order':False,'shape':(1,)}" + b" " * (4 * MIB * LARGE) + b"\n"
    path.write_bytes(b"\x93NUMPY\2\0" + struct.pack("<I", len(header)) + header + b"0")
    return path


CASES = {name[5:]: made for name, made in sorted(globals().items()) if name.startswith("make_")}
