#!/usr/bin/env python3
"""Writes what Hugging Face's packages make of small inputs (needs safetensors, transformers 5.23 and torch):

tests/golden/safetensors/reference.safetensors   a file by the reference writer
tests/golden/config/NAME.json                    a config.json
tests/golden/config/NAME.txt                     what transformers' configuration, attention and RoPE code make of it:
                                                 one "field value" a line, fields as in viva_model_config
"""
import ctypes
import json
import pathlib
import shutil

from safetensors import TensorSpec, serialize
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"

# the package's words for types: bytes of an element
TYPES = {"bool": 1, "uint8": 1, "int8": 1, "float8_e5m2": 1, "float8_e4m3fn": 1, "float8_e8m0fnu": 1, "int16": 2,
         "uint16": 2, "float16": 2, "bfloat16": 2, "int32": 4, "uint32": 4, "float32": 4, "complex64": 8, "float64": 8,
         "int64": 8, "uint64": 8}


def reference_file() -> bytes:
    """Tensor i of type t: named by its type, shape [2, 3], byte b is b + 1."""
    keep: list[ctypes.Array] = []

    def spec(dtype: str, shape: list[int], data: bytes) -> TensorSpec:
        keep.append(ctypes.create_string_buffer(data, max(len(data), 1)))
        return TensorSpec(dtype=dtype, shape=shape, data_ptr=ctypes.addressof(keep[-1]), data_len=len(data))

    tensors = {name: spec(name, [2, 3], bytes(range(1, 6 * size + 1))) for name, size in TYPES.items()}
    tensors['B "quoted" \\ \t\n\x01 é😀'] = spec("float32", [], b"\1\2\3\4")
    tensors["A"] = spec("float32", [0, 7], b"")
    return serialize(tensors, {"format": "pt"})


BASE = {"llama": {"architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2},
        "mistral": {"architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2},
        "qwen2": {"architectures": ["Qwen2ForCausalLM"], "bos_token_id": 5, "eos_token_id": 6},
        "qwen3": {"architectures": ["Qwen3ForCausalLM"], "bos_token_id": 5, "eos_token_id": 6}}
SIZES = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 6, "num_attention_heads": 8,
         "num_key_value_heads": 4, "vocab_size": 1000, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 1024}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}


def cases() -> dict[str, dict]:
    def one(family: str, **change) -> dict:
        values = {**BASE[family], "model_type": family, **SIZES, **change}
        return {k: v for k, v in values.items() if v is not ...}

    full, sliding = "full_attention", "sliding_attention"
    return {
        "llama": one("llama"),
        "llama_sparse": one("llama", num_key_value_heads=..., max_position_embeddings=..., rms_norm_eps=..., bos_token_id=...,
                            eos_token_id=..., architectures=...),
        "llama_nulls": one("llama", num_key_value_heads=None, head_dim=None, rope_scaling=None, bos_token_id=None,
                           eos_token_id=None, sliding_window=None),
        "llama_biases": one("llama", attention_bias=True, mlp_bias=True, tie_word_embeddings=True, head_dim=32, hidden_act="silu"),
        "llama_theta_integer": one("llama", rope_theta=500000),
        "llama_eos_list": one("llama", eos_token_id=[7, 8, 7]),
        "llama_window_ignored": one("llama", sliding_window=64, use_sliding_window=True),
        "llama_linear": one("llama", rope_scaling={"type": "linear", "factor": 2.5}),
        "llama_dynamic": one("llama", rope_theta=20000.0, rope_scaling={"rope_type": "dynamic", "factor": 2}),
        "llama_llama3": one("llama", rope_theta=500000.0, rope_scaling=LLAMA3),
        "llama_llama3_new": one("llama", rope_parameters={**LLAMA3, "rope_theta": 500000.0}),
        "llama_llama3_no_original": one("llama", rope_scaling={k: v for k, v in LLAMA3.items() if k != "original_max_position_embeddings"}),
        "llama_yarn": one("llama", rope_scaling=YARN),
        "llama_yarn_new": one("llama", rope_parameters={**YARN, "rope_theta": 1000000.0, "beta_fast": 24, "beta_slow": 2.0, "truncate": False}),
        "llama_yarn_mscale": one("llama", rope_scaling={**YARN, "mscale": 0.707, "mscale_all_dim": 1.5}),
        "llama_yarn_one_mscale": one("llama", rope_scaling={**YARN, "mscale": 0.707}),
        "llama_yarn_attention": one("llama", rope_scaling={**YARN, "attention_factor": 1.25, "mscale": 0.7, "mscale_all_dim": 1.0}),
        "llama_yarn_zeros": one("llama", rope_scaling={**YARN, "beta_fast": 0, "beta_slow": None, "attention_factor": None}),
        "llama_yarn_null_factor": one("llama", rope_scaling={**YARN, "factor": None}),
        "llama_yarn_small_factor": one("llama", rope_scaling={**YARN, "factor": 0.5}),
        "llama_yarn_outer_original": one("llama", rope_scaling=YARN, original_max_position_embeddings=2048),
        "llama_theta_in_both": one("llama", rope_theta=123.0, rope_parameters={"rope_type": "default", "rope_theta": 456.0}),
        "llama_theta_outside": one("llama", rope_theta=123.0, rope_parameters={"rope_type": "linear", "factor": 2.0}),
        "llama_type_in_both": one("llama", rope_scaling={"type": "linear", "rope_type": "dynamic", "factor": 2.0}),
        "mistral": one("mistral", sliding_window=64),
        "mistral_absent": one("mistral", num_key_value_heads=..., max_position_embeddings=...),
        "mistral_null": one("mistral", sliding_window=None, head_dim=24),
        "mistral_layers": one("mistral", sliding_window=64, layer_types=[full] * 2 + [sliding] * 4),
        "mistral_bias_ignored": one("mistral", attention_bias=True, sliding_window=None),
        "qwen2": one("qwen2"),
        "qwen2_absent": one("qwen2", num_attention_heads=64, num_key_value_heads=..., bos_token_id=..., eos_token_id=...),
        "qwen2_window": one("qwen2", use_sliding_window=True, sliding_window=64, max_window_layers=2),
        "qwen2_window_all": one("qwen2", use_sliding_window=True, max_window_layers=0),
        "qwen2_window_none": one("qwen2", use_sliding_window=True, sliding_window=64),
        "qwen2_window_off": one("qwen2", use_sliding_window=False, sliding_window=64, max_window_layers=2),
        "qwen2_layers": one("qwen2", use_sliding_window=True, sliding_window=64, layer_types=[full] * 5 + [sliding]),
        "qwen2_layers_full": one("qwen2", use_sliding_window=True, sliding_window=64, layer_types=[full] * 6),
        "qwen2_yarn": one("qwen2", tie_word_embeddings=True, rope_theta=1e6, rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}),
        "qwen3": one("qwen3", head_dim=..., rope_theta=1000000),
        "qwen3_bias": one("qwen3", head_dim=32, attention_bias=True, tie_word_embeddings=True),
        "qwen3_window": one("qwen3", use_sliding_window=True, sliding_window=64, max_window_layers=4),
    }


def tokens(value) -> list[int]:
    unique: list[int] = []
    for token in [] if value is None else value if isinstance(value, list) else [value]:
        if token not in unique:
            unique.append(token)
    return unique


def resolved(path: pathlib.Path) -> dict:
    raw = json.loads(path.read_text())
    c = AutoConfig.from_pretrained(path)
    family = raw["model_type"]
    kinds = getattr(c, "layer_types", None)
    if kinds is None:
        slides = family == "mistral" and c.sliding_window is not None
        kinds = ["sliding_attention" if slides else "full_attention"] * c.num_hidden_layers
    first = kinds.index("sliding_attention") if "sliding_attention" in kinds else None
    rope = c.rope_parameters
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    attention = 1.0
    if rope["rope_type"] != "default":
        _, attention = ROPE_INIT_FUNCTIONS[rope["rope_type"]](c, "cpu")
    scaled = rope["rope_type"] in ("llama3", "yarn")
    biased = getattr(c, "attention_bias", False) and family != "mistral"
    factor = rope.get("factor", 1.0)
    if factor is None:
        factor = c.max_position_embeddings / rope["original_max_position_embeddings"]
    eos = tokens(c.eos_token_id)
    return {
        "architecture": (raw.get("architectures") or [family])[0], "model_type": family, "hidden_size": c.hidden_size,
        "intermediate_size": c.intermediate_size, "num_layers": c.num_hidden_layers, "num_heads": c.num_attention_heads,
        "num_kv_heads": c.num_key_value_heads, "head_dim": head_dim, "rotary_dim": head_dim, "vocab_size": c.vocab_size,
        "max_position_embeddings": c.max_position_embeddings,
        "sliding_window": 0 if first is None else c.sliding_window, "sliding_from_layer": first or 0,
        "rms_norm_eps": c.rms_norm_eps, "rope_theta": rope["rope_theta"],
        "rope_type": ["default", "linear", "dynamic", "llama3", "yarn"].index(rope["rope_type"]),
        "rope_truncate": int(rope.get("truncate", True)), "rope_factor": factor,
        "rope_low_freq_factor": rope.get("low_freq_factor", 1.0), "rope_high_freq_factor": rope.get("high_freq_factor", 4.0),
        "rope_beta_fast": rope.get("beta_fast") or 32.0, "rope_beta_slow": rope.get("beta_slow") or 1.0,
        "rope_attention_factor": attention,
        "rope_original_context": rope["original_max_position_embeddings"] if scaled else c.max_position_embeddings,
        "tie_word_embeddings": int(c.tie_word_embeddings), "qkv_bias": int(biased or family == "qwen2"),
        "o_bias": int(biased and family != "qwen2"), "mlp_bias": int(getattr(c, "mlp_bias", False) and family == "llama"),
        "qk_norm": int(family == "qwen3"), "permuted_qk": 0, "bos_token": -1 if c.bos_token_id is None else c.bos_token_id,
        "num_eos": len(eos), **{f"eos_tokens[{i}]": token for i, token in enumerate(eos)},
    }


def main() -> None:
    (GOLDEN / "safetensors" / "reference.safetensors").write_bytes(reference_file())
    folder = GOLDEN / "config"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, values in cases().items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(values) + "\n")
        lines = [f"{key} {value!r}".replace("'", "") for key, value in resolved(path).items()]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
