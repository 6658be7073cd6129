#!/usr/bin/env python3
"""Writes a small llama model that runs: every byte is a token, the weights are random.   mktiny.py OUT.gguf

It writes printable text only: the rows of other tokens in the output matrix are zero. Standard library only; the same
file every time. The command line's tests make it anew for each run.
"""
import pathlib
import random
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from mkgguf import Gguf, Tensor  # noqa: E402

HIDDEN, FORWARD, HEADS, KV_HEADS, LAYERS, CONTEXT = 64, 96, 4, 2, 2, 256
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ġ t", "h e", "Ġt he", "i n", "o n", "Ġ a", "r e", "Ġ o", "e r", "Ġ w", "o r", "Ġw or", "l d", "Ġwor ld",
          "H e", "l l", "He ll", "Hell o"]


def byte_letters():
    """The letters by which a byte-level vocabulary writes the bytes 0 to 255 (as GPT-2 does)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in shown]
    return [chr(b) if b in shown else chr(0x100 + hidden.index(b)) for b in range(256)]


def tiny() -> Gguf:
    tokens = SPECIAL + byte_letters() + [merge.replace(" ", "") for merge in MERGES]
    g = Gguf()
    g.set("general.architecture", "string", "llama").set("general.name", "string", "Tiny random llama")
    for key, value in {"block_count": LAYERS, "context_length": CONTEXT, "embedding_length": HIDDEN,
                       "feed_forward_length": FORWARD, "attention.head_count": HEADS,
                       "attention.head_count_kv": KV_HEADS, "rope.dimension_count": HIDDEN // HEADS,
                       "vocab_size": len(tokens)}.items():
        g.set("llama." + key, "u32", value)
    g.set("llama.attention.layer_norm_rms_epsilon", "f32", 1e-5).set("llama.rope.freq_base", "f32", 10000.0)
    g.set("tokenizer.ggml.model", "string", "gpt2").set("tokenizer.ggml.pre", "string", "smollm")
    g.set("tokenizer.ggml.tokens", "array", tokens, element="string")
    types = [3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL))
    g.set("tokenizer.ggml.token_type", "array", types, element="i32")
    g.set("tokenizer.ggml.merges", "array", MERGES, element="string")
    g.set("tokenizer.ggml.bos_token_id", "u32", 1).set("tokenizer.ggml.eos_token_id", "u32", 2)
    g.set("tokenizer.ggml.add_bos_token", "bool", False)

    numbers = random.Random(1)

    def add(name, *shape, row_is_used=lambda row: True):  # shape: innermost first
        count = 1
        for side in shape:
            count *= side
        if len(shape) == 1:
            data = struct.pack(f"<{count}f", *(1 + numbers.uniform(-0.1, 0.1) for _ in range(count)))
            g.tensors.append(Tensor(name, list(shape), "f32", data))
        else:
            scale = 3 / shape[0] ** 0.5
            values = (numbers.uniform(-scale, scale) * row_is_used(i // shape[0]) for i in range(count))
            data = struct.pack(f"<{count}e", *values)
            g.tensors.append(Tensor(name, list(shape), "f16", data))

    kv = HIDDEN // HEADS * KV_HEADS
    add("token_embd.weight", HIDDEN, len(tokens))
    for i in range(LAYERS):
        add(f"blk.{i}.attn_norm.weight", HIDDEN)
        add(f"blk.{i}.attn_q.weight", HIDDEN, HIDDEN)
        add(f"blk.{i}.attn_k.weight", HIDDEN, kv)
        add(f"blk.{i}.attn_v.weight", HIDDEN, kv)
        add(f"blk.{i}.attn_output.weight", HIDDEN, HIDDEN)
        add(f"blk.{i}.ffn_norm.weight", HIDDEN)
        add(f"blk.{i}.ffn_gate.weight", HIDDEN, FORWARD)
        add(f"blk.{i}.ffn_up.weight", HIDDEN, FORWARD)
        add(f"blk.{i}.ffn_down.weight", FORWARD, HIDDEN)
    add("output_norm.weight", HIDDEN)
    printable = [token not in SPECIAL and token.replace("Ġ", " ").isascii() for token in tokens]
    add("output.weight", HIDDEN, len(tokens), row_is_used=printable.__getitem__)
    return g


if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_bytes(tiny().pack())
