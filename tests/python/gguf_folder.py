"""Writes a GGUF file of a Llama model with byte-level BPE as a Hugging Face folder: config.json, generation_config.json,
tokenizer.json and model.safetensors, for tests that load one model in both forms.

GGUF keeps the rows of q and k in interleaved order, Hugging Face in halves: they are turned back here. Values come from the
gguf package's own dequantisation, which is the reference for ours.
"""

import json
from pathlib import Path

import gguf
import gguf_tokenizer
import numpy as np
import small_models

NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head", "attn_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj",
         "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def hugging_face_name(name):
    parts = name.removesuffix(".weight").split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}.weight"
    return f"{NAMES[parts[0]]}.weight"


def halves(values, heads):
    """Rows of each head from interleaved pairs (0 h 1 h+1 ...) to two halves."""
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def config(meta):
    heads = meta["llama.attention.head_count"]
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": meta["llama.embedding_length"], "intermediate_size": meta["llama.feed_forward_length"],
            "num_hidden_layers": meta["llama.block_count"], "num_attention_heads": heads,
            "num_key_value_heads": meta["llama.attention.head_count_kv"], "vocab_size": meta["llama.vocab_size"],
            "head_dim": meta["llama.embedding_length"] // heads,
            "max_position_embeddings": meta["llama.context_length"],
            "rms_norm_eps": float(meta["llama.attention.layer_norm_rms_epsilon"]),
            "rope_theta": float(meta["llama.rope.freq_base"]), "rope_scaling": None, "attention_bias": False,
            "mlp_bias": False, "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
            "eos_token_id": meta["tokenizer.ggml.eos_token_id"]}


def write(path, folder, dtype):
    """dtype: "BF16" or "F32", of the matrices and of the norms alike. Norms of BF16 folders stay F32, as in the GGUF."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    meta = gguf_tokenizer.fields(path)
    shape = config(meta)
    header, parts, end = {}, [], 0
    for tensor in gguf_tokenizer.reader(path).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name.endswith("attn_q.weight"):
            values = halves(values, shape["num_attention_heads"])
        elif tensor.name.endswith("attn_k.weight"):
            values = halves(values, shape["num_key_value_heads"])
        kind = dtype if values.ndim == 2 else "F32"
        data = small_models.encode(values, kind)
        header[hugging_face_name(tensor.name)] = {"dtype": kind, "shape": list(values.shape),
                                                  "data_offsets": [end, end + len(data)]}
        parts.append(data)
        end += len(data)
    shape["tie_word_embeddings"] = "lm_head.weight" not in header
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for data in parts:
            file.write(data)
    (folder / "config.json").write_text(json.dumps(shape, indent=2) + "\n")
    generation = {key: shape[key] for key in ("bos_token_id", "eos_token_id")}
    (folder / "generation_config.json").write_text(json.dumps(generation) + "\n")
    gguf_tokenizer.save(path, folder / "tokenizer.json")
    return folder
