"""The quantised checkpoints that test_quant.c reads are what their writers write, and what their readers read."""

import importlib.util
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import viva_ctypes as viva

TESTS = Path(__file__).resolve().parent.parent
GOLDEN = TESTS / "golden" / "quant"
PACKAGE = sorted(folder.name for folder in GOLDEN.iterdir() if folder.name.startswith("ct_"))


def make(tmp_path):
    """tests/mk/mkquant.py, writing to tmp_path."""
    spec = importlib.util.spec_from_file_location("mkquant", TESTS / "mk" / "mkquant.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.OUT = tmp_path
    return module


def assert_same(made):
    for folder in made.iterdir():
        files = sorted(file.name for file in folder.iterdir())
        assert files == sorted(file.name for file in (GOLDEN / folder.name).iterdir())
        for file in files:
            assert (folder / file).read_bytes() == (GOLDEN / folder.name / file).read_bytes(), f"{folder.name}/{file}"


def test_numpy_writes_the_same_again(tmp_path):
    make(tmp_path).without_package()
    assert len(list(tmp_path.iterdir())) == len(list(GOLDEN.iterdir())) - len(PACKAGE)
    assert_same(tmp_path)


def test_compressed_tensors_writes_the_same_again(tmp_path):
    pytest.importorskip("compressed_tensors", reason="the package that writes these files")
    make(tmp_path).packages()
    assert sorted(folder.name for folder in tmp_path.iterdir()) == PACKAGE
    assert_same(tmp_path)


def expected_values(folder):
    """MODULE -> its values, from expected.txt and expected.bin."""
    values = np.fromfile(folder / "expected.bin", dtype="<f4")
    for line in (folder / "expected.txt").read_text().splitlines():
        name, rows, cols = line.split()
        yield name, values[:int(rows) * int(cols)].reshape(int(rows), int(cols))
        values = values[int(rows) * int(cols):]


@pytest.mark.parametrize("name", PACKAGE)
def test_compressed_tensors_reads_its_files_alike(name):
    """From the committed file and its config.json, as a reader would: not with what the writer had in memory."""
    pytest.importorskip("compressed_tensors", reason="the reference")
    import torch
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from compressed_tensors.utils.match import match_name
    from safetensors.torch import load_file

    config = json.loads((GOLDEN / name / "config.json").read_text())["quantization_config"]
    groups = QuantizationConfig(**config).config_groups.values()
    tensors = load_file(GOLDEN / name / "model.safetensors")
    for module, values in expected_values(GOLDEN / name):
        state = {key.rpartition(".")[2]: value for key, value in tensors.items() if key.rpartition(".")[0] == module}
        weight = state.get("weight")
        if weight is None or weight.dtype == torch.float8_e4m3fn:
            scheme = next(g for g in groups if any(t == "Linear" or match_name(module, t) for t in g.targets))
            weight = BaseCompressor.get_value_from_registry(scheme.format).decompress(state, scheme)["weight"]
        assert np.array_equal(weight.to(torch.float32).numpy().view(np.uint32), values.view(np.uint32)), module


# ---- whole models: quantised folders give the logits of the values that they stand for ----------------------------------

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 64,
          "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
          "vocab_size": 48, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
          "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}
MATRICES = {"self_attn.q_proj": (64, 64), "self_attn.k_proj": (32, 64), "self_attn.v_proj": (32, 64),
            "self_attn.o_proj": (64, 64), "mlp.gate_proj": (80, 64), "mlp.up_proj": (80, 64), "mlp.down_proj": (64, 80)}
FP8_ARGS = {"num_bits": 8, "type": "float", "symmetric": True, "dynamic": False}


def per_block(block, suffix):
    def quantise(mk, w, module):
        size = tuple(b or full for b, full in zip(block, w.shape))
        scale = mk.block_scale(w, size)
        codes = mk.e4m3(w / mk.grid(scale, *w.shape, size))
        stored = scale.reshape(1) if block == (0, 0) else scale
        return ({f"{module}.weight": ("F8_E4M3", codes), f"{module}.{suffix}": ("F32", stored),
                 f"{module}.input_scale": ("F32", np.float32(1))}, mk.E4M3[codes] * mk.grid(scale, *w.shape, size))
    return quantise


def nvfp4(divides):
    def quantise(mk, w, module):
        multiplier = np.float32(np.abs(w).max() / 2688)
        divisor = np.float32(1) / multiplier
        codes, scale = mk.nvfp4_codes(w, multiplier)
        block = mk.E4M3[scale] / divisor if divides else mk.E4M3[scale] * multiplier
        values = mk.E2M1[codes] * mk.grid(block, *w.shape, (1, 16))
        packed = {f"{module}.weight_scale": ("F8_E4M3", scale)}
        if divides:
            return packed | {f"{module}.weight_packed": ("U8", mk.pack_nibbles(codes)),
                             f"{module}.weight_global_scale": ("F32", divisor.reshape(1))}, values
        return packed | {f"{module}.weight": ("U8", mk.pack_nibbles(codes)),
                         f"{module}.weight_scale_2": ("F32", multiplier)}, values
    return quantise


def masked(mk, w, module):
    parts, mask = mk.bitmask(module, w, "F32", np.abs(w))
    return parts, np.where(mask, w, np.float32(0))


def compressed_tensors(fmt, weights):
    return {"quant_method": "compressed-tensors", "format": fmt, "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}


DIALECTS = {
    "ct-tensor": (per_block((0, 0), "weight_scale"), compressed_tensors("float-quantized", FP8_ARGS | {"strategy": "tensor"})),
    "ct-channel": (per_block((1, 0), "weight_scale"),
                   compressed_tensors("float-quantized", FP8_ARGS | {"strategy": "channel"})),
    "ct-group": (per_block((1, 16), "weight_scale"),
                 compressed_tensors("float-quantized", FP8_ARGS | {"strategy": "group", "group_size": 16})),
    "ct-block": (per_block((24, 48), "weight_scale"),
                 compressed_tensors("float-quantized", FP8_ARGS | {"strategy": "block", "block_structure": [24, 48]})),
    "ct-nvfp4": (nvfp4(True), compressed_tensors("nvfp4-pack-quantized", {
        "num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16})),
    "sparse-24-bitmask": (masked, {"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-24-bitmask"}}),
    "fp8-block": (per_block((32, 24), "weight_scale_inv"), {"quant_method": "fp8", "weight_block_size": [32, 24]}),
    "fp8-static": (per_block((0, 0), "weight_scale"), {"quant_method": "fp8", "activation_scheme": "static"}),
    "fbgemm": (per_block((1, 0), "weight_scale"), {"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"]}),
    "modelopt-fp8": (per_block((0, 0), "weight_scale"), {"quant_method": "modelopt", "quant_algo": "FP8"}),
    "modelopt-nvfp4": (nvfp4(False), {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16}),
}


def write_model(mk, folder, tensors, quantization):
    config = CONFIG | ({"quantization_config": quantization} if quantization else {})
    mk.OUT = folder.parent
    mk.write(folder.name, tensors, {}, {"config.json": config})
    return folder


def logits_of(engine, folder, weights):
    with viva.Model(engine, folder, weights=weights, kv=viva.F32, context=32) as model, viva.Session(model) as session:
        return session.prefill([1, 7, 30, 5, 11, 40, 2], vocab_size=CONFIG["vocab_size"])


def quantised_model(tmp_path, name):
    """Folders with a model in a dialect, and with the values that it stands for."""
    quantise, config = DIALECTS[name]
    mk = make(tmp_path)
    hidden = CONFIG["hidden_size"]
    common = {"model.embed_tokens.weight": ("F32", mk.weight(1, CONFIG["vocab_size"], hidden) * 20),
              "lm_head.weight": ("F32", mk.weight(2, CONFIG["vocab_size"], hidden) * 5),
              "model.norm.weight": ("F32", np.ones(hidden))}
    packed, plain = {}, {}
    for layer in range(CONFIG["num_hidden_layers"]):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            common[f"model.layers.{layer}.{norm}.weight"] = ("F32", np.ones(hidden))
        for i, (part, shape) in enumerate(MATRICES.items()):
            module = f"model.layers.{layer}.{part}"
            tensors, values = quantise(mk, mk.weight(100 * layer + i + 3, *shape) * 2, module)
            packed |= tensors
            plain[f"{module}.weight"] = ("F32", values)
    return (write_model(mk, tmp_path / "quantised", common | packed, config),
            write_model(mk, tmp_path / "dense", common | plain, None))


@pytest.mark.parametrize("name", DIALECTS)
def test_model_gives_the_logits_of_its_values(engine, tmp_path, name):
    """A model computes with the FP32 products, before a decompressor's rounding."""
    quantised, dense = quantised_model(tmp_path, name)
    expected = logits_of(engine, dense, b"f32")
    assert np.ptp(expected) > 1  # not a model that says nothing
    assert np.array_equal(logits_of(engine, quantised, b"f32").view(np.uint32), expected.view(np.uint32))


HELD = {"ct-tensor": "FP8", "ct-channel": "FP8", "ct-group": "FP8 b16", "ct-block": "BF16", "ct-nvfp4": "NVFP4",
        "sparse-24-bitmask": "F32", "fp8-block": "BF16", "modelopt-nvfp4": "NVFP4"}


@pytest.mark.parametrize("name", HELD)
def test_what_is_held_is_said(program, tmp_path, name):
    """FP8 in blocks that no kernel takes becomes BF16, with a warning; the rest is kept and named."""
    quantised, _ = quantised_model(tmp_path, name)
    words = [program, "bench", "-m", quantised, "-p", "4", "-n", "0", "-r", "1", "-o", "jsonl"]
    run = subprocess.run(words, check=True, capture_output=True, text=True)
    told = json.loads(run.stdout)
    head = ", head F32" if HELD[name] != "F32" else ""
    assert told["model_type"].endswith(" " + HELD[name] + head) and told["weights"] == "as stored"
    assert ("14 quantised matrices are held as BF16" in run.stderr) == (HELD[name] == "BF16"), run.stderr
    words += ["--weights", "f32"]
    assert "held as BF16" not in subprocess.run(words, check=True, capture_output=True, text=True).stderr


# ---- what viva writes, read by the package -------------------------------------------------------------------------------


def dense_model(mk, folder):
    hidden = CONFIG["hidden_size"]
    tensors = {"model.embed_tokens.weight": ("F32", mk.weight(1, CONFIG["vocab_size"], hidden)),
               "lm_head.weight": ("F32", mk.weight(2, CONFIG["vocab_size"], hidden)),
               "model.norm.weight": ("F32", np.ones(hidden))}
    for layer in range(CONFIG["num_hidden_layers"]):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{norm}.weight"] = ("F32", np.ones(hidden))
        for i, (part, shape) in enumerate(MATRICES.items()):
            tensors[f"model.layers.{layer}.{part}.weight"] = ("F32", mk.weight(100 * layer + i + 3, *shape))
    return write_model(mk, folder, tensors, None)


@pytest.mark.parametrize("word", ["fp8", "fp8-b16", "nvfp4"])
def test_compressed_tensors_reads_what_viva_writes(program, tmp_path, word):
    pytest.importorskip("compressed_tensors", reason="the reference")
    import torch
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from safetensors.torch import load_file

    source = dense_model(make(tmp_path), tmp_path / "source")
    for start, end, rule in ((source, "packed", word), (tmp_path / "packed", "back", "f32")):
        subprocess.run([program, "quantize", start, tmp_path / end, "--format", rule, "-q"], check=True)
    config = json.loads((tmp_path / "packed" / "config.json").read_text())["quantization_config"]
    packed = load_file(tmp_path / "packed" / "model.safetensors")
    back = load_file(tmp_path / "back" / "model.safetensors")
    modules = 0
    for scheme in QuantizationConfig(**config).config_groups.values():
        for module in scheme.targets:
            state = {key.rpartition(".")[2]: value for key, value in packed.items() if key.rpartition(".")[0] == module}
            theirs = BaseCompressor.get_value_from_registry(scheme.format).decompress(state, scheme)["weight"]
            ours = back[f"{module}.weight"].to(theirs.dtype)  # NVFP4: rounded to BF16, as the package gives it
            bits = [value.to(torch.float32).numpy().view(np.uint32) for value in (theirs, ours)]
            assert np.array_equal(*bits), module
            modules += 1
    assert modules == CONFIG["num_hidden_layers"] * len(MATRICES) + 1
