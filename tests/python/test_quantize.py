"""What `viva quantize` writes is what the ecosystem's own packages read: safetensors, tokenizers, compressed-tensors."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

TINY = Path(__file__).resolve().parent.parent / "golden" / "tiny.gguf"
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def quantize(program, out, rule, *options):
    subprocess.run([program, "quantize", TINY, out, "--format", rule, "-q", *options], check=True, timeout=120)
    return json.loads((out / "config.json").read_text())


def tensors(folder):
    torch_files = pytest.importorskip("safetensors.torch")
    found = {}
    for file in folder.glob("*.safetensors"):
        found.update(torch_files.load_file(file))
    return found


def values(parts):
    """docs/formats.md's products, in FP32."""
    scale = parts["weight_scale"].float().numpy()
    if "weight" in parts:
        codes = parts["weight"].float().numpy()
        return codes * np.repeat(scale, codes.shape[1] // scale.shape[1], axis=1)
    packed = parts["weight_packed"].numpy()
    nibbles = np.stack([packed & 15, packed >> 4], axis=-1).reshape(packed.shape[0], -1)
    codes = np.where(nibbles & 8, -E2M1[nibbles & 7], E2M1[nibbles & 7])
    return codes * np.repeat(scale / parts["weight_global_scale"].numpy(), 16, axis=1)


@pytest.mark.parametrize("rule", ["fp8", "fp8-b16", "fp8-b32", "nvfp4", "nvfp4,layers.0=fp8,lm_head=bf16"])
def test_compressed_tensors_reads_the_same_values(program, tmp_path, rule):
    compressors = pytest.importorskip("compressed_tensors.compressors")
    from compressed_tensors.quantization import QuantizationConfig
    import torch

    config = quantize(program, tmp_path / "out", rule)
    scheme_of = QuantizationConfig.model_validate(config["quantization_config"])
    found = tensors(tmp_path / "out")
    count = 0
    for scheme in scheme_of.config_groups.values():
        name = getattr(scheme.format, "value", scheme.format)
        compressor = compressors.BaseCompressor.get_value_from_registry(name)
        for module in scheme.targets:
            parts = {key[len(module) + 1:]: t for key, t in found.items() if key.startswith(module + ".")}
            theirs = compressor.decompress(dict(parts), scheme)["weight"]
            assert torch.equal(theirs, torch.from_numpy(values(parts)).to(theirs.dtype)), module
            count += 1
    assert count == (14 if "lm_head=bf16" in rule else 15)


def test_own_layout_has_the_documented_parts(program, tmp_path):
    config = quantize(program, tmp_path / "out", "int8-24,mlp=int4-24-g32", "--force")["quantization_config"]
    found = tensors(tmp_path / "out")
    assert config["quant_method"] == "viva" and config["version"] == 1 and len(config["modules"]) == 15
    for module, entry in config["modules"].items():
        rows, cols = found[module + ".weight_shape"].tolist()
        block = {"int8-24": 40, "int4-24-g32": 24}[entry["format"]]
        assert found[module + ".weight_packed"].shape == (rows, (cols + 63) // 64 * block)
        groups = 1 if block == 40 else (cols + 31) // 32
        assert found[module + ".weight_scale"].shape == (rows, groups)


def test_what_is_stored_is_kept_byte_for_byte(program, tmp_path):
    quantize(program, tmp_path / "one", "fp8")
    subprocess.run([program, "quantize", tmp_path / "one", tmp_path / "other", "--format", "lm_head=stored", "-q"],
                   check=True, timeout=120)
    one, other = (tmp_path / name / "model.safetensors" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_tokenizers_reads_the_vocabulary_of_a_gguf_file(program, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    quantize(program, tmp_path / "out", "bf16")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    for text in ["Hello world's 12345", "  two  spaces\n\n", "été 漢字 🙂", "</s> end"]:
        ours = subprocess.run([program, "tokenize", "-m", TINY, "-p", text, "--ids", "--special"], check=True,
                              capture_output=True, text=True, timeout=60).stdout
        assert theirs.encode(text, add_special_tokens=False).ids == json.loads(ours)


def llama3_divisors(base, dim, factor, original=8192, low=1.0, high=4.0):
    """As llama.cpp's converter computes rope_freqs.weight from rope_scaling."""
    divisors = []
    for i in range(0, dim, 2):
        wave = 2 * np.pi * base ** (i / dim)
        smooth = (original / wave - low) / (high - low)
        divisors.append(1 if wave < original / high else factor if wave > original / low else 1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, np.float32)


def test_llama3_file_becomes_a_folder(program, tmp_path):
    """The divisors of frequencies become rope_scaling, the chat template is carried over, and the tokens stay the same."""
    import test_files  # which finds mkgguf
    import mkgguf
    model = test_files.read_gguf(TINY)
    dim = next(v.value for v in model.values if v.key == "llama.rope.dimension_count")
    model.set("llama.rope.freq_base", "f32", 500000.0).set("tokenizer.chat_template", "string", "{{ bos_token }}\u00e4\n")
    model.tensors.append(mkgguf.Tensor("rope_freqs.weight", [dim // 2], "f32",
                                       llama3_divisors(500000.0, dim, 32).tobytes()))
    (tmp_path / "llama3.gguf").write_bytes(model.pack())
    subprocess.run([program, "quantize", tmp_path / "llama3.gguf", tmp_path / "out", "--format", "stored", "-q"], check=True)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["rope_scaling"] == {"rope_type": "llama3", "factor": 32, "low_freq_factor": 1, "high_freq_factor": 4,
                                      "original_max_position_embeddings": 8192}
    carried = json.loads((tmp_path / "out/tokenizer_config.json").read_text())
    assert carried["chat_template"] == "{{ bos_token }}\u00e4\n" and carried["bos_token"] == "<|im_start|>"
    first, second = (test_files.generate(program, tmp_path / name) for name in ("llama3.gguf", "out"))
    assert first[:2] == second[:2]
