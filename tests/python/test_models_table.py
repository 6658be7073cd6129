"""README's table of the models that run: each family, in each form that the table names, on a small random model of that
family with transformers' logits (tools/make_small_models.py)."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import small_models
import test_files  # which finds mkgguf
import mkgguf
import viva_ctypes as viva

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = small_models.manifest()
EXPECTED = np.load(small_models.GOLDEN / "small_models.npz")
LOGITS = 2e-4  # as in test_reference.py: FP32 sums in another order
NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}  # llama.cpp's gguf-py/gguf/tensor_mapping.py


def table():
    """Rows of the table under "Models that run": model_type, GGUF architecture, RoPE rules."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.search(r"\| family \|.*?\n\|[-|]+\n((?:\|.*\n)+)", text)[1].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return [(re.findall(r"`(\w+)`", row[1]), re.findall(r"`(\w+)`", row[2]), re.findall(r"\w+", row[3])) for row in cells]


def config_of(name):
    return json.loads(SMALL[name]["texts"]["config.json"])


def rope_of(config):
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return rope.get("rope_type") or rope.get("type") or "default"


TYPES = [(t, rule) for types, _, rules in table() for t in types for rule in rules]
ARCHITECTURES = [(a, t) for types, architectures, _ in table() for a in architectures for t in types[:1]]


def test_table_has_the_families():
    assert {t for t, _ in TYPES} == {config_of(name)["model_type"] for name in SMALL} and len(ARCHITECTURES) >= 4


def check(engine, path, name):
    expected = EXPECTED[name]
    with viva.Model(engine, path, kv=viva.F32, context=SMALL[name]["capacity"]) as model, viva.Session(model) as session:
        logits = session.prefill(SMALL[name]["ids"], vocab_size=expected.shape[1])
    assert np.abs(logits - expected).max() <= LOGITS


@pytest.mark.parametrize("model_type, rule", TYPES)
def test_folder_runs(engine, tmp_path, model_type, rule):
    fitting = [n for n in SMALL if config_of(n)["model_type"] == model_type and rope_of(config_of(n)) == rule]
    assert fitting, f"README claims {model_type} with RoPE {rule}, and no small model is like that"
    check(engine, small_models.write(SMALL[fitting[0]], tmp_path / "model"), fitting[0])


def llama_order(data, heads):
    """The rows of q and k as llama.cpp's converter writes them for llama."""
    rows, cols = data.shape
    return data.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def gguf_of(name, architecture, path):
    """A small model as llama.cpp's converter would write it, in F32."""
    config, out = config_of(name), mkgguf.Gguf()
    out.set("general.architecture", "string", architecture)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    for key, value in {"block_count": config["num_hidden_layers"], "embedding_length": config["hidden_size"],
                       "context_length": config["max_position_embeddings"], "vocab_size": config["vocab_size"],
                       "feed_forward_length": config["intermediate_size"], "attention.head_count": heads,
                       "attention.head_count_kv": kv_heads, "attention.key_length": head_dim,
                       "attention.value_length": head_dim, "rope.dimension_count": head_dim}.items():
        out.set(f"{architecture}.{key}", "u32", value)
    if config.get("sliding_window") and architecture != "llama":
        out.set(f"{architecture}.attention.sliding_window", "u32", config["sliding_window"])
    theta = (config.get("rope_parameters") or config)["rope_theta"]
    out.set(f"{architecture}.rope.freq_base", "f32", theta)
    out.set(f"{architecture}.attention.layer_norm_rms_epsilon", "f32", config["rms_norm_eps"])
    for file in SMALL[name]["safetensors"].values():
        header = json.loads(file["header"])
        header.pop("__metadata__", None)
        for tensor, entry in header.items():
            data = small_models.weight(SMALL[name]["seed"], tensor, entry["shape"])
            if entry["dtype"] == "BF16":
                data = (np.frombuffer(small_models.encode(data, "BF16"), "<u2").astype(np.uint32) << 16).view(np.float32)
            if entry["dtype"] == "F16":
                data = data.astype("<f2").astype("<f4")
            data = data.reshape(entry["shape"])
            module, part = tensor.rsplit(".", 1)
            layer = re.match(r"model\.layers\.(\d+)\.(.*)", module)
            if architecture == "llama" and layer and layer[2] in ("self_attn.q_proj", "self_attn.k_proj"):
                data = llama_order(data, heads if "q_proj" in module else kv_heads)
            new = f"blk.{layer[1]}.{NAMES[layer[2]]}.{part}" if layer else f"{NAMES[module]}.{part}"
            out.tensors.append(mkgguf.Tensor(new, list(data.shape[::-1]), "f32", np.ascontiguousarray(data, "<f4").tobytes()))
    path.write_bytes(out.pack())


@pytest.mark.parametrize("architecture, model_type", ARCHITECTURES)
def test_gguf_runs(engine, tmp_path, architecture, model_type):
    fitting = [n for n in SMALL if config_of(n)["model_type"] == model_type and rope_of(config_of(n)) == "default"
               and not config_of(n).get("sliding_window") and not any(".bias" in f["header"] for f in SMALL[n]["safetensors"].values())]
    if not fitting:  # qwen2 has biases of q, k and v
        fitting = [n for n in SMALL if config_of(n)["model_type"] == model_type and rope_of(config_of(n)) == "default"]
    gguf_of(fitting[0], architecture, tmp_path / "model.gguf")
    check(engine, tmp_path / "model.gguf", fitting[0])
