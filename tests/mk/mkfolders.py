#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/fuzz_folder.c and fuzz_round.c: mkfolders.py (no arguments).

A seed of `folder` is a configuration that transformers wrote (tests/golden/reference/small_models.json), with its sizes made
small and the header that its weights then have; beside it one of three tokenizers, among them those of tests/golden/tokenizer.
A seed of `round` is a choice of the model that the target makes, and a rule of weights.
"""

import json
import re
import struct
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
SEPARATOR = b"\xff"
BYTES = {"F32": 4, "BF16": 2, "F16": 2}
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
         "num_hidden_layers": 1, "max_position_embeddings": 64}
PROMPT = "Hello <s>ab ab 12 \u00e9\u65e5".encode()

# SentencePiece's kind, as Llama 2's tokenizer.json has it; 40 tokens.
PIECES = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", *"abcdefghilmnorstu", "\u2581a", "\u2581t", "ab", "he", "ll", "\u2581ab", "Hell",
          "H", "He", "1", "2", "o\u2581", "\u00e9", "l", "th", "in", "er", "\u2581H"]
PIECES = list(dict.fromkeys(PIECES))
MERGES = ["\u2581 a", "\u2581 t", "a b", "h e", "l l", "\u2581a b", "He ll", "H e", "t h", "i n", "e r", "\u2581 H"]
LLAMA = {
    "version": "1.0",
    "added_tokens": [{"id": i, "content": PIECES[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                      "special": True} for i in range(3)],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
                                                       {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
    "pre_tokenizer": None,
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                                                {"Sequence": {"id": "A", "type_id": 0}}],
                       "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                                                 {"type": "ByteFallback"}, {"type": "Fuse"},
                                                 {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
              "vocab": {piece: i for i, piece in enumerate(PIECES)}, "merges": MERGES},
}
CHAT = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "tokenizer_class": "LlamaTokenizerFast",
        "chat_template": "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}{{ eos_token }}{% endfor %}"}


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def tokenizers():
    """(tokenizer.json, rows that it needs)"""
    golden = ROOT / "golden" / "tokenizer"
    for text in [compact(LLAMA), (golden / "small.json").read_bytes(), (golden / "small_nfc.json").read_bytes()]:
        read = json.loads(text)
        ids = [*read["model"]["vocab"].values(), *(token["id"] for token in read["added_tokens"])]
        yield text, max(ids) + 1


def small_shape(name, config):
    hidden, ffn, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head = SMALL["head_dim"]
    q, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    rows = {"q_proj": (q, hidden), "k_proj": (kv, hidden), "v_proj": (kv, hidden), "o_proj": (hidden, q), "gate_proj": (ffn, hidden),
            "up_proj": (ffn, hidden), "down_proj": (hidden, ffn), "embed_tokens": (vocab, hidden), "lm_head": (vocab, hidden)}
    module, kind = name.split(".")[-2:]
    if module in ("q_norm", "k_norm"):
        return [head]
    if module not in rows:
        return [hidden]
    return list(rows[module]) if kind == "weight" else [rows[module][0]]


def small_header(header, config):
    made, end = {}, 0
    for name, entry in sorted(header.items()):
        layer = re.search(r"layers\.(\d+)\.", name)
        if name == "__metadata__" or (layer and int(layer[1]) >= config["num_hidden_layers"]):
            continue
        shape = small_shape(name, config)
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        made[name] = {"dtype": entry["dtype"], "shape": shape, "data_offsets": [end, end + count * BYTES[entry["dtype"]]]}
        end += count * BYTES[entry["dtype"]]
    return made


def small_config(config, vocab):
    config = {**config, **{key: value for key, value in SMALL.items() if key in config}, "vocab_size": vocab}
    if "layer_types" in config:
        config["layer_types"] = config["layer_types"][-SMALL["num_hidden_layers"]:]
    if "max_window_layers" in config:
        config["max_window_layers"] = 0
    for key in ("transformers_version", "initializer_range", "attention_dropout", "use_cache", "pretraining_tp"):
        config.pop(key, None)
    return config


def folder_seeds():
    models = json.loads((ROOT / "golden" / "reference" / "small_models.json").read_text())
    models = models.get("models", models)
    kinds = list(tokenizers())
    for i, (name, model) in enumerate(models.items()):
        tokenizer, vocab = kinds[{"qwen2": 1, "llama3": 2}.get(name, 0)]
        config = small_config(json.loads(model["texts"]["config.json"]), vocab)
        header = {}
        for file in model["safetensors"].values():
            header.update(json.loads(file["header"]))
        fill = b"".join(bytes([j * 53 % 251, 0xBC if j % 3 else 0x3C]) for j in range(41))  # about 0.02, as BF16 and as F32
        generation = compact({"bos_token_id": 1, "eos_token_id": [2, 0]}) if i % 2 else b""
        rule = [b"", b"fp8", b"nvfp4", b"fp8-b16,lm_head=stored", b"f32"][i % 5]
        yield name, [bytes([i * 37 % 256]), rule, PROMPT, compact(config), generation, b"" if name == "tied" else tokenizer,
                     compact(CHAT) if i % 3 == 0 else b"", compact(small_header(header, config)), fill]


def round_seeds():
    llama = compact(LLAMA)
    rules = ["fp8", "fp8-b16", "fp8-b32:f16", "fp8-b64:e8m0", "nvfp4", "nvfp4:four-over-six", "int8-24", "int4-24", "int4-24-g32:f32",
             "int4-24-channel", "bf16", "f16", "f32", "dense", "bf16,mlp=nvfp4,layers.0.self_attn=fp8", "nvfp4,lm_head=fp8",
             "fp8,lm_head=stored", "stored"]
    rope = [b"", b'"rope_theta":500000.0,', b'"rope_scaling":{"rope_type":"linear","factor":2.0},', b'"sliding_window":8,']
    for i, rule in enumerate(rules):
        large = struct.pack("<IHBB", i * 1000, 0, 0, 0)[:3] + b"\x7f" if i % 4 == 3 else b""
        choices = bytes([i % 4 * 2, i * 5 % 8, i % 3, i * 3 % 16, i % 2, i, i % 8 | i // 2 % 2 * 8, i % 4])
        yield "folder." + re.sub("[,:]", "+", rule), [choices, rule.encode(), PROMPT, llama, rope[i % 4], large]
        if i % 2 == 0:
            yield "gguf." + re.sub("[,:]", "+", rule), [b"\x01\0\0\0\0\0" + bytes([i % 8 | i // 2 % 2 * 8, 0]), rule.encode(), PROMPT, b"", b"", large]
    small = (ROOT / "golden" / "tokenizer" / "small.json").read_bytes()
    yield "bytes", [b"\x06\x01\x01\x00\x03\x07\x00\x00", b"fp8", PROMPT, small, b"", b""]


def main():
    for target, seeds in {"folder": folder_seeds(), "round": round_seeds()}.items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for name, parts in seeds:
            assert all(SEPARATOR not in part for part in parts[:-1]), name
            (CORPUS / target / name).write_bytes(SEPARATOR.join(parts))


if __name__ == "__main__":
    main()
