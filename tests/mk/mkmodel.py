#!/usr/bin/env python3
"""Writes tests/golden/tiny.gguf, a whole Llama model of 40 KB, and tests/golden/tiny.bin, what transformers computes with it;
and rope.gguf and rope.bin: one F16 layer, an untied head, no tokenizer, and a file's own RoPE factors.

Needs the packages of tools/requirements-reference.txt. usage: tests/mk/mkmodel.py [FOLDER]

The tiny model has random weights in many types, grouped queries (4:2), q and k rows in GGUF's interleaved order, tied
embeddings, and a byte-level BPE vocabulary of 299 tokens: 3 special ones, 256 bytes, 40 merges.

*.bin, little endian: u32 prompt count, u32 vocab, u32 greedy count; i32 prompt ids; f32 logits [prompt][vocab]; i32
greedy ids.
"""

import struct
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Q
from transformers import LlamaConfig, LlamaForCausalLM

HIDDEN, FFN, HEADS, KV_HEADS, CONTEXT = 32, 64, 4, 2, 128
HEAD = HIDDEN // HEADS
THETA, EPS = 10000.0, 1e-5
GREEDY = 32
FACTORS = [1.0, 1.5, 4.0, 8.0]  # of the rope model: each pair's frequency is divided by its factor
ROPE_VOCAB = 40
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ("Ġ t,h e,Ġt he,Ġ a,i n,e r,o n,r e,Ġ s,a t,n d,Ġa nd,o u,i s,e n,Ġ w,Ġ o,Ġo f,i t,o r,e s,a n,in g,Ġ h,e d,a l,l l,"
          "Ġ b,Ġ m,Ġ p,o m,u t,a r,Ġt o,Ġ in,Ġ f,Ġ d,i c,r o,Ġ c").split(",")
# Types by tensor, for the two layers: every way a weight can be held or converted.
TYPES = {"attn_q": (Q.F16, Q.Q8_0), "attn_k": (Q.BF16, Q.F32), "attn_v": (Q.Q8_0, Q.Q5_1), "attn_output": (Q.F32, Q.F16),
         "ffn_gate": (Q.Q4_1, Q.BF16), "ffn_up": (Q.Q5_0, Q.Q4_0), "ffn_down": (Q.Q4_0, Q.Q4_1)}
HF = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
      "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
      "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}


def byte_letters():
    """GPT-2's printable letter for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, more = {b: chr(b) for b in plain}, 256
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(more)
            more += 1
    return [letters[b] for b in range(256)]


def tokens():
    return SPECIAL + byte_letters() + [merge.replace(" ", "") for merge in MERGES]


def interleaved(weights, heads):
    """Rows of each head from two halves to interleaved pairs, as llama.cpp's converter writes them."""
    rows, columns = weights.shape
    return weights.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def shapes():
    kv = KV_HEADS * HEAD
    return {"attn_q": (HIDDEN, HIDDEN), "attn_k": (kv, HIDDEN), "attn_v": (kv, HIDDEN), "attn_output": (HIDDEN, HIDDEN),
            "ffn_gate": (FFN, HIDDEN), "ffn_up": (FFN, HIDDEN), "ffn_down": (HIDDEN, FFN)}


class Builder:
    """Adds each tensor to the GGUF file, and its dequantised values to a state dict."""

    def __init__(self, writer):
        self.writer, self.state, self.rng = writer, {}, np.random.default_rng(20240607)

    def add(self, name, hf, shape, kind, scale, heads=0):
        values = (self.rng.standard_normal(shape) * scale).astype(np.float32)
        data = gguf.quants.quantize(values, kind)
        self.state[hf] = torch.from_numpy(gguf.quants.dequantize(data, kind).astype(np.float32).copy())
        if heads:  # rows change places, so quantizing them gives the same values
            data = gguf.quants.quantize(interleaved(values, heads), kind)
        self.writer.add_tensor(name, data, raw_dtype=kind)

    def norm(self, name, hf, gain=1.0):
        values = (gain + 0.1 * self.rng.standard_normal(HIDDEN)).astype(np.float32)
        self.state[hf] = torch.from_numpy(values)
        self.writer.add_tensor(name, values)


def sizes(writer, name, layers):
    writer.add_name(name)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(THETA)
    writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(EPS)


def vocabulary(writer):
    vocab = tokens()
    writer.add_vocab_size(len(vocab))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocab)
    writer.add_token_types([gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (len(vocab) - len(SPECIAL)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def add_layers(build, count, kinds):
    for layer in range(count):
        gg, hf = f"blk.{layer}.", f"model.layers.{layer}."
        for name in ("attn_norm", "ffn_norm"):
            build.norm(f"{gg}{name}.weight", f"{hf}{HF[name]}.weight")
        for name, shape in shapes().items():
            heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(name, 0)
            scale = 3 / np.sqrt(shape[1])
            build.add(f"{gg}{name}.weight", f"{hf}{HF[name]}.weight", shape, kinds(name, layer), scale, heads)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_tiny(path):
    writer = gguf.GGUFWriter(path, "llama")
    sizes(writer, "tiny", 2)
    vocabulary(writer)
    build = Builder(writer)
    build.add("token_embd.weight", "model.embed_tokens.weight", (len(tokens()), HIDDEN), Q.Q8_0, 0.2)
    build.norm("output_norm.weight", "model.norm.weight", 3.0)
    add_layers(build, 2, lambda name, layer: TYPES[name][layer])
    finish(writer)
    return build.state


def write_rope(path):
    writer = gguf.GGUFWriter(path, "llama")
    sizes(writer, "rope", 1)
    writer.add_vocab_size(ROPE_VOCAB)
    writer.add_tokenizer_model("no_vocab")
    build = Builder(writer)
    build.add("token_embd.weight", "model.embed_tokens.weight", (ROPE_VOCAB, HIDDEN), Q.F32, 0.2)
    build.add("output.weight", "lm_head.weight", (ROPE_VOCAB, HIDDEN), Q.F32, 1.0)
    build.norm("output_norm.weight", "model.norm.weight")
    writer.add_tensor("rope_freqs.weight", np.array(FACTORS, np.float32))
    add_layers(build, 1, lambda name, layer: Q.F16)
    finish(writer)
    return build.state


def reference(state, layers):
    vocab = state["model.embed_tokens.weight"].shape[0]
    config = LlamaConfig(vocab_size=vocab, hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=layers,
                         num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD,
                         max_position_embeddings=CONTEXT, rms_norm_eps=EPS,
                         tie_word_embeddings="lm_head.weight" not in state,
                         rope_parameters={"rope_type": "default", "rope_theta": THETA})
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config).eval()
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and missing.missing_keys in ([], ["lm_head.weight"]), missing
    model.tie_weights()
    return model


@torch.no_grad()
def write_golden(path, model, prompt, greedy=GREEDY):
    logits = model(torch.tensor([prompt])).logits[0].numpy()
    ids = list(prompt)
    for _ in range(greedy):
        row = model(torch.tensor([ids])).logits[0, -1]
        best = torch.topk(row, 2).values
        assert best[0] - best[1] > 1e-3, "a near-tie: choose another seed"
        ids.append(int(row.argmax()))
    with open(path, "wb") as file:
        file.write(struct.pack("<3I", len(prompt), logits.shape[1], greedy))
        file.write(np.array(prompt, "<i4").tobytes() + logits.astype("<f4").tobytes())
        file.write(np.array(ids[len(prompt):], "<i4").tobytes())
    print(f"{path.with_suffix('.gguf').stat().st_size} bytes, greedy {ids[len(prompt):]}")


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "golden"
    vocab = tokens()
    prompt = [1, *(vocab.index(letter) for letter in "Once"), *(vocab.index(t) for t in ("Ġ", "on", "Ġa", "Ġt", "in")), 2, 150]
    write_golden(folder / "tiny.bin", reference(write_tiny(folder / "tiny.gguf"), 2), prompt)
    rope = reference(write_rope(folder / "rope.gguf"), 1)
    rope.model.rotary_emb.inv_freq /= torch.tensor(FACTORS)
    write_golden(folder / "rope.bin", rope, [int(i * 7 % ROPE_VOCAB) for i in range(40)], 8)


if __name__ == "__main__":
    main()
