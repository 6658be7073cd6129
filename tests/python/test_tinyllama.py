"""The guide's flagship: a folder in TinyLlama's form (its real tokenizer, random weights) goes from text to text, through the
program, the API, and the programs that README.md and docs/guide-inference.md show.

Needs llama2.tokenizer.json(.xz), which is TinyLlama's: in VIVA_TOKENIZERS, or in shared/tokenizers beside the project."""

import json
import lzma
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import small_models
import test_docs
import viva_ctypes

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "tokenizers"
FOLDER = Path(os.environ.get("VIVA_TOKENIZERS") or BESIDE)
HIDDEN, HEADS, KV_HEADS, INNER, LAYERS, VOCABULARY = 64, 4, 2, 176, 3, 32000
GOLDEN = [("Hello world", [15043, 3186]), ("The quick brown fox", [450, 4996, 17354, 1701, 29916]),
          ("Olá mundo", [7137, 29976, 13864])]


def tokenizer_text():
    plain, packed = FOLDER / "llama2.tokenizer.json", FOLDER / "llama2.tokenizer.json.xz"
    if plain.exists():
        return plain.read_bytes()
    if not packed.exists():
        pytest.skip(f"no llama2.tokenizer.json in {FOLDER}")
    return lzma.decompress(packed.read_bytes())


def shapes():
    head = HIDDEN // HEADS
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", (HIDDEN,)
        yield at + "post_attention_layernorm.weight", (HIDDEN,)
        yield at + "self_attn.q_proj.weight", (HEADS * head, HIDDEN)
        yield at + "self_attn.k_proj.weight", (KV_HEADS * head, HIDDEN)
        yield at + "self_attn.v_proj.weight", (KV_HEADS * head, HIDDEN)
        yield at + "self_attn.o_proj.weight", (HIDDEN, HEADS * head)
        yield at + "mlp.gate_proj.weight", (INNER, HIDDEN)
        yield at + "mlp.up_proj.weight", (INNER, HIDDEN)
        yield at + "mlp.down_proj.weight", (HIDDEN, INNER)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """config.json has TinyLlama-1.1B's keys with small sizes."""
    folder = tmp_path_factory.mktemp("tinyllama")
    (folder / "tokenizer.json").write_bytes(tokenizer_text())
    config = {"architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
              "hidden_size": HIDDEN, "initializer_range": 0.02, "intermediate_size": INNER, "max_position_embeddings": 2048,
              "model_type": "llama", "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
              "num_key_value_heads": KV_HEADS, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None,
              "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True,
              "vocab_size": VOCABULARY}
    (folder / "config.json").write_text(json.dumps(config))
    rng, header, parts, end = np.random.default_rng(7), {}, [], 0
    for name, shape in shapes():
        values = np.ones(shape, np.float32) if len(shape) == 1 else rng.normal(0, 0.05, shape).astype(np.float32)
        data = small_models.encode(values, "BF16")
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + len(data)]}
        parts.append(data)
        end += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))
    return folder


def run(program, *arguments):
    return subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, timeout=60).stdout


def test_ids(program, folder):
    for text, ids in GOLDEN:
        assert json.loads(run(program, "tokenize", "-m", folder, "-p", text, "--ids")) == ids
        assert run(program, "detokenize", "-m", folder, json.dumps(ids)).decode() == text


def test_generates(program, folder):
    """Text in, text out, with weights in 16 bits and in 8."""
    for weights in ("bf16", "fp8,mlp.down_proj=bf16"):
        out = run(program, "generate", "-m", folder, "-p", "Once upon a time", "-n", 24, "--weights", weights)
        assert out.decode().strip()


def test_text_is_decoded_ids(engine, folder):
    """BOS by the tokenizer's rule; the text is what comes behind the prompt when prompt and continuation are decoded as one."""
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompt = "Once upon a time"
    with viva_ctypes.Model(engine, folder) as model:
        tokens, text, plain = model.generate(prompt, max_new_tokens=24)
        ids = theirs.encode(prompt).ids
        assert plain["prompt_count"] == len(ids)
        assert model.generate(ids, max_new_tokens=24)[0] == tokens
        assert prompt + text == theirs.decode(ids + tokens)


def test_readme_program(program, folder, tmp_path):
    """README's program continues a text of the folder as viva generate does."""
    shown = test_docs.run(test_docs.build(test_docs.programs("README.md")[0], tmp_path), folder, "Once upon a time")
    assert shown.returncode == 0, shown.stderr
    text = run(program, "generate", "-m", folder, "-p", "Once upon a time").decode()
    assert shown.stdout.split("\n")[0] and shown.stdout.startswith(text.rstrip("\n"))


def test_guide_program(program, folder, tmp_path):
    """The guide's sections, joined: packed by hand, layer by layer, the model is the one that the same rule loads."""
    guide = (test_docs.ROOT / "docs/guide-inference.md").read_text(encoding="utf-8")
    source = "\n".join(re.findall(r"^```c\n(.*?)^```", guide, re.M | re.S))
    shown = test_docs.run(test_docs.build(source, tmp_path), folder, "Once upon a time")
    assert shown.returncode == 0, shown.stderr
    assert "fp8-b16" in shown.stdout
    rule = "fp8,mlp.down_proj=fp8-b16,layers.0=bf16,layers.2=bf16"
    text = run(program, "generate", "-m", folder, "-p", "Once upon a time", "--weights", rule).decode()
    assert len(text) > 20 and "Once upon a time" + text.rstrip("\n") in shown.stdout
