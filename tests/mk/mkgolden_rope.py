#!/usr/bin/env python3
"""Writes tests/golden/rope_angles.txt: frequencies, cosines and sines of every RoPE type as transformers 5.23 computes them.

Needs the packages of tools/requirements-reference.txt. usage: tests/mk/mkgolden_rope.py

One case is: a line "TYPE DIM THETA FACTOR LOW HIGH BETA_FAST BETA_SLOW TRUNCATE ATTENTION ORIGINAL TRAINED CONTEXT"; a line
with the bits of DIM/2 frequencies; then for each position a line "POSITION" and the bits of DIM/2 cosines and sines.
"""

from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

TYPES = ["default", "linear", "dynamic", "llama3", "yarn"]
POSITIONS = [7, 4095, 1000003]
CASES = [
    dict(kind="default", dim=64, theta=10000.0),
    dict(kind="default", dim=8, theta=100000.0),
    dict(kind="default", dim=80, theta=1e6),
    dict(kind="default", dim=256, theta=130000.0),
    dict(kind="linear", dim=64, theta=10000.0, factor=4.0),
    dict(kind="linear", dim=128, theta=500000.0, factor=3.7),
    dict(kind="dynamic", dim=64, theta=10000.0, factor=2.0, trained=2048, context=2048),
    dict(kind="dynamic", dim=64, theta=10000.0, factor=2.0, trained=2048, context=8192),
    dict(kind="dynamic", dim=128, theta=500000.0, factor=4.0, trained=4096, context=20000),
    dict(kind="llama3", dim=128, theta=500000.0, factor=8.0, low=1.0, high=4.0, original=8192, trained=131072),
    dict(kind="llama3", dim=64, theta=500000.0, factor=32.0, low=1.0, high=4.0, original=8192, trained=131072),
    dict(kind="yarn", dim=128, theta=1e6, factor=4.0, original=32768, trained=131072),
    dict(kind="yarn", dim=64, theta=150000.0, factor=32.0, original=4096, trained=131072, truncate=False),
    dict(kind="yarn", dim=64, theta=10000.0, factor=40.0, original=4096, trained=163840, attention=0.5, fast=64.0, slow=2.0),
]


def parameters(case):
    rope = {"rope_type": case["kind"], "rope_theta": case["theta"]}
    if case["kind"] != "default":
        rope["factor"] = case["factor"]
    if case["kind"] == "llama3":
        rope |= {"low_freq_factor": case["low"], "high_freq_factor": case["high"]}
    if case["kind"] in ("llama3", "yarn"):
        rope["original_max_position_embeddings"] = case["original"]
    if case["kind"] == "yarn":
        rope |= {"beta_fast": case.get("fast", 32.0), "beta_slow": case.get("slow", 1.0),
                 "truncate": case.get("truncate", True)}
        if "attention" in case:
            rope["attention_factor"] = case["attention"]
    return rope


def bits(tensor):
    return " ".join(f"{value:08x}" for value in np.asarray(tensor, dtype=np.float32).view(np.uint32))


def lines(case):
    trained = case.get("trained", 2048)
    config = LlamaConfig(hidden_size=case["dim"] * 2, num_attention_heads=2, head_dim=case["dim"],
                         max_position_embeddings=trained, rope_parameters=parameters(case))
    embedding = LlamaRotaryEmbedding(config)
    context = case.get("context", trained)
    if case["kind"] == "dynamic":  # as for a text of the whole context
        embedding(torch.zeros(1), torch.tensor([[context - 1]]))
    yield " ".join(str(v) for v in (
        case["kind"], case["dim"], case["theta"], case.get("factor", 1.0), case.get("low", 1.0), case.get("high", 4.0),
        case.get("fast", 32.0), case.get("slow", 1.0), int(case.get("truncate", True)), float(embedding.attention_scaling),
        case.get("original", trained), trained, context))
    yield bits(embedding.inv_freq)
    for position in POSITIONS:
        angle = torch.tensor([float(position)]) * embedding.inv_freq  # forward() without dynamic's update
        yield f"{position} {bits(angle.cos() * embedding.attention_scaling)} {bits(angle.sin() * embedding.attention_scaling)}"


path = Path(__file__).resolve().parent.parent / "golden" / "rope_angles.txt"
path.write_text("".join(line + "\n" for case in CASES for line in lines(case)))
print(path.stat().st_size, "bytes")
