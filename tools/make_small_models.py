#!/usr/bin/env python3
"""Makes tests/golden/reference/small_models.*: random small models written by transformers, and what they answer in FP32.

Needs tools/requirements-reference.txt. Weights come from seeds (tests/python/small_models.py), so only JSON texts,
checksums and answers are committed: logits at each of 48 positions, and 64 greedy tokens after them.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "python"))
import small_models  # noqa: E402

IDS, NEW, CLOSE = 48, 64, 1e-3
CAPACITY = IDS + NEW  # of the session: what RoPE "dynamic" scales to

BASE = dict(hidden_size=64, intermediate_size=112, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=256, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def rope(kind, theta=10000.0, **more):
    return {"rope_type": kind, "rope_theta": theta, **more}


def case(config, dtype="bfloat16", shards=1, old=None, **keys):
    return {"config": config, "dtype": dtype, "shards": shards, "old": old, "keys": {**BASE, **keys}}


# old: how the RoPE parameters are spelled, None for transformers' own way (the rope_parameters object), or the name of the
# kind's key in the former rope_scaling object ("type" or "rope_type") beside rope_theta.
CASES = {
    "tinyllama": case(LlamaConfig, hidden_size=128, num_hidden_layers=3, num_attention_heads=16, num_key_value_heads=2,
                      tie_word_embeddings=False),
    "tinyllama_old_keys": case(LlamaConfig, old="type", num_attention_heads=8, num_key_value_heads=1,
                               rope_parameters=rope("default", 500.0)),
    "tied": case(LlamaConfig, hidden_size=72, num_attention_heads=9, num_key_value_heads=3,
                 tie_word_embeddings=True),
    "qwen2": case(Qwen2Config, tie_word_embeddings=True, rope_parameters=rope("default", 1000000.0)),
    "qwen2_sliding": case(Qwen2Config, num_hidden_layers=4, use_sliding_window=True, sliding_window=12,
                          max_window_layers=2),
    "qwen3": case(Qwen3Config, head_dim=32, tie_word_embeddings=False, eos_token_id=[2, 3]),
    "mistral_window": case(MistralConfig, sliding_window=16, head_dim=16),
    "mistral_full": case(MistralConfig, sliding_window=None, dtype="float16"),
    "linear": case(LlamaConfig, rope_parameters=rope("linear", factor=4.0)),
    "linear_old_keys": case(LlamaConfig, old="type", rope_parameters=rope("linear", 300.0, factor=2.5)),
    "dynamic": case(LlamaConfig, max_position_embeddings=32, rope_parameters=rope("dynamic", factor=2.0)),
    "llama3": case(LlamaConfig, rope_parameters=rope("llama3", 10000.0, factor=8.0, low_freq_factor=1.0,
                                                     high_freq_factor=4.0, original_max_position_embeddings=64)),
    "llama3_old_keys": case(LlamaConfig, old="rope_type",
                            rope_parameters=rope("llama3", 500000.0, factor=32.0, low_freq_factor=1.0,
                                                 high_freq_factor=4.0, original_max_position_embeddings=48)),
    "yarn": case(LlamaConfig, rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=32)),
    "yarn_mscale": case(Qwen2Config, old="rope_type",
                        rope_parameters=rope("yarn", 5000.0, factor=8.0, original_max_position_embeddings=64,
                                             beta_fast=16.0, beta_slow=2.0, mscale=0.8, mscale_all_dim=0.5)),
    "yarn_untruncated": case(LlamaConfig, rope_parameters=rope("yarn", factor=6.0, truncate=False, attention_factor=1.3,
                                                               original_max_position_embeddings=40)),
    "biases_head_dim": case(LlamaConfig, head_dim=24, attention_bias=True, mlp_bias=True, dtype="float32"),
    "three_shards": case(LlamaConfig, shards=3, num_hidden_layers=3, tie_word_embeddings=False),
}


def old_spelling(config, kind_key):
    """config.json as transformers wrote it before version 5."""
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    kind = parameters.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {kind_key: kind, **parameters}
    return config


def write_folder(folder, name, spec):
    """Writes the model with transformers and returns its row of the manifest."""
    seed = 1000 + list(CASES).index(name)
    dtype = getattr(torch, spec["dtype"])
    model = transformers.AutoModelForCausalLM.from_config(spec["config"](**spec["keys"]), dtype=dtype)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(small_models.weight(seed, key, tuple(parameter.shape))).to(dtype))
    total = sum(p.numel() * p.element_size() for p in model.parameters())
    limit = f"{total // spec['shards'] // 1000 + (20 if spec['shards'] > 1 else 1000)}KB"
    model.save_pretrained(folder, max_shard_size=limit)
    if spec["old"]:
        path = folder / "config.json"
        path.write_text(json.dumps(old_spelling(json.loads(path.read_text()), spec["old"]), indent=2) + "\n")
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) == spec["shards"], (name, files)
    row = {"seed": seed, "texts": {p.name: p.read_text() for p in sorted(folder.glob("*.json"))}, "safetensors": {}}
    for path in files:
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        row["safetensors"][path.name] = {"header": data[8:8 + length].decode(),
                                         "sha256": hashlib.sha256(data).hexdigest()}
    return row


def answers(folder, ids):
    """FP32 logits of every position of ids, the greedy continuation, and its undecided steps."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                              attn_implementation="eager").eval()
    # "dynamic" grows its base with the longest sequence seen: show it the whole capacity before anything else.
    model(input_ids=torch.zeros((1, CAPACITY), dtype=torch.long))
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    tokens, close = [], []
    for step in range(NEW):
        last = model(input_ids=torch.tensor([ids + tokens]), use_cache=False).logits[0, -1]
        best = torch.topk(last, 2)
        margin = float(best.values[0] - best.values[1])
        if margin < CLOSE:
            close.append([step, margin])
        tokens.append(int(best.indices[0]))
    return logits.numpy(), tokens, close


def main():
    rows, arrays = {}, {}
    for name, spec in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            row = write_folder(Path(folder), name, spec)
            small_models.write(row, Path(folder) / "again")  # checks that the seeds give transformers' bytes
            generator = np.random.PCG64(row["seed"])
            row["ids"] = [int(x % spec["keys"]["vocab_size"]) for x in generator.random_raw(IDS)]
            arrays[name], row["tokens"], row["close"] = answers(folder, row["ids"])
        row["capacity"] = CAPACITY
        rows[name] = row
        size = sum(len(f["header"]) for f in row["safetensors"].values())
        print(f"{name}: logits within ±{np.abs(arrays[name]).max():.1f}, {len(set(row['tokens']))} different tokens, "
              f"{len(row['close'])} close, header {size} bytes", flush=True)
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    (small_models.GOLDEN / "small_models.json").write_text("{\n" + text + "\n}\n", encoding="utf-8")
    np.savez_compressed(small_models.GOLDEN / "small_models.npz", **arrays)


if __name__ == "__main__":
    with torch.inference_mode(False), torch.no_grad():
        main()
