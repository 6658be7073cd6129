"""Signals: every command ends soon after Ctrl-C and SIGTERM, in every phase; what a shell ignores stays ignored; a mapped model that is
cut is reported by whatever thread meets the hole."""

import json
import os
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest
from commands import ignore_no_signal

TINY = Path(__file__).resolve().parent.parent / "golden" / "tiny.gguf"
SLOW = bool(os.environ.get("VIVA_SLOW"))
# Seconds. 0.2 is the promise, on a machine of its own; one that runs other tests is given time to notice.
SOON = 0.2 if SLOW else 1.0
WAITS = (0.01, 0.03, 0.1, 0.3) if SLOW else (0.05,)
TRIES = 8  # the fastest counts: how long one waits depends on what else the machine does
RUNS = 67 if SLOW else 3


def start(*command):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            preexec_fn=ignore_no_signal)


@pytest.fixture(scope="module")
def large_header(tmp_path_factory):
    """A file whose header takes seconds to read."""
    path = tmp_path_factory.mktemp("large") / "many.safetensors"
    header = b"{" + b",".join(b'"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(100000)) + b"}"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


@pytest.fixture(scope="module")
def large_string(tmp_path_factory):
    """A GGUF file whose only value is a string of 1 GiB, without a block on the disk."""
    path = tmp_path_factory.mktemp("large") / "string.gguf"
    length = 1 << 30
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<IQ", 8, length)
    path.write_bytes(head)
    os.truncate(path, len(head) + length)
    return path


@pytest.fixture(scope="module")
def large_tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "tokenizer.json"
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]
    words = [a + b + c for a in letters[:100] for b in letters[:100] for c in letters[:25]]
    vocab = {word: i for i, word in enumerate(letters + words)}
    path.write_text(json.dumps({"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {
        "type": "ByteLevel", "add_prefix_space": False}, "post_processor": None, "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "unk_token": None, "vocab": vocab, "merges": []}}))
    return path


def seconds_to_end(command, wait, number):
    """From a signal, some seconds after the start, to the end."""
    with start(*command) as child:
        time.sleep(wait)
        if child.poll() is not None:
            return 0
        child.send_signal(number)
        begin = time.monotonic()
        message = child.communicate(timeout=60)[1]
        assert child.returncode in (0, 130), (command, message)  # 0: it was done by then, or what is written is a result
        return time.monotonic() - begin


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_soon_in_every_phase(program, large_header, large_string, large_tokenizer, tmp_path, number):
    """In phases that ask nobody, and in those that poll."""
    text = tmp_path / "text"
    text.write_text("some words and 12345 numbers " * 40000)
    commands = {
        "inspect": [program, "inspect", large_header],
        "inspect a string": [program, "inspect", large_string],
        "tokenizer": [program, "tokenize", "-m", large_tokenizer, "-p", "ab"],
        "encode": [program, "tokenize", "-m", TINY, "-f", text, "--ids"],
        "read": [program, "tokenize", "-m", TINY],
        "read floats": [program, "compress", "-", "-o", tmp_path / "c.viva"],
        "read a container": [program, "decompress", "-", "-o", tmp_path / "d.raw"],
        "generate": [program, "generate", "-m", TINY, "-p", "a", "-n", "90000", "-c", "100000", "--ignore-eos"],
        "perplexity": [program, "perplexity", "-m", TINY, "-f", text],
        "bench": [program, "bench", "-m", TINY, "-r", "1000"],
    }
    for name, command in commands.items():
        for wait in WAITS:
            assert any(seconds_to_end(command, wait, number) < SOON for _ in range(TRIES)), (name, wait)


def test_what_is_ignored_stays_ignored(program, large_tokenizer):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with subprocess.Popen([program, "tokenize", "-m", large_tokenizer, "-p", "ab"], stdout=subprocess.DEVNULL,
                              preexec_fn=lambda n=number: signal.signal(n, signal.SIG_IGN)) as child:
            time.sleep(0.05)
            child.send_signal(number)
        assert child.returncode == 0, number


@pytest.fixture(scope="module")
def mapped_model(tmp_path_factory):
    """Large enough to be cut while it is used; zeros, in a sparse file."""
    folder = tmp_path_factory.mktemp("mapped")
    hidden, ffn, vocab = 1024, 16384, 64
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": hidden,
              "intermediate_size": ffn, "num_hidden_layers": 1, "num_attention_heads": 8, "num_key_value_heads": 8,
              "vocab_size": vocab, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
              "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    layer = "model.layers.0."
    shapes = {"model.embed_tokens": [vocab, hidden], "model.norm": [hidden]}
    shapes |= {layer + f"self_attn.{p}_proj": [hidden, hidden] for p in "qkvo"}
    shapes |= {layer + "mlp.gate_proj": [ffn, hidden], layer + "mlp.up_proj": [ffn, hidden], layer + "mlp.down_proj": [hidden, ffn],
               layer + "input_layernorm": [hidden], layer + "post_attention_layernorm": [hidden]}
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name + ".weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file = folder / "model.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text)
    return folder, 8 + len(text) + end


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_cut_while_mapped(program, mapped_model, threads):
    folder, size = mapped_model
    file = folder / "model.safetensors"
    for _ in range(RUNS):
        os.truncate(file, size)
        with start(program, "bench", "-m", folder, "--load", "mmap", "-t", str(threads), "-r", "1000", "-p", "8", "-n", "8") as child:
            maps = Path(f"/proc/{child.pid}/maps")
            while child.poll() is None and str(file) not in maps.read_text():
                time.sleep(0.001)
            time.sleep(0.05)
            os.truncate(file, size // 2)
            message = child.communicate(timeout=60)[1]
        assert child.returncode == 4, message
        assert "model.safetensors: the file was cut" in message, message
