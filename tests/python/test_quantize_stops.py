"""What is left of a `viva quantize` that is stopped, killed, or has no room or memory; also for a user who may do anything."""

import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import ignore_no_signal, least_memory, run_under

TINY = Path(__file__).resolve().parent.parent / "golden" / "tiny.gguf"
ROPE = TINY.with_name("rope.gguf")
HIDDEN, FFN, VOCAB = 2048, 24576, 64  # 168 million weights, all zero: a sparse file


def quantize(program, source, out, *options, **how):
    return subprocess.run([program, "quantize", source, out, "-q", *options], capture_output=True, text=True, timeout=300, **how)


def fails(done, code, *words):
    assert done.returncode == code, done.stderr
    assert done.stdout == "" and all(word in done.stderr for word in words), done.stderr


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory):
    """A model whose quantisation takes long enough to be caught in the middle."""
    folder = tmp_path_factory.mktemp("slow")
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
              "intermediate_size": FFN, "num_hidden_layers": 1, "num_attention_heads": 16, "num_key_value_heads": 16,
              "vocab_size": VOCAB, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
              "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {"model.embed_tokens": [VOCAB, HIDDEN], "model.norm": [HIDDEN]}
    layer = "model.layers.0."
    shapes |= {layer + f"self_attn.{p}_proj": [HIDDEN, HIDDEN] for p in "qkvo"}
    shapes |= {layer + "mlp.gate_proj": [FFN, HIDDEN], layer + "mlp.up_proj": [FFN, HIDDEN],
               layer + "mlp.down_proj": [HIDDEN, FFN], layer + "input_layernorm": [HIDDEN],
               layer + "post_attention_layernorm": [HIDDEN]}
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name + ".weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return folder


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGHUP, 130),
                                          (signal.SIGKILL, -signal.SIGKILL)])
def test_stopped_in_the_middle(program, slow_model, tmp_path, number, code):
    out = tmp_path / "out"
    unfinished = tmp_path / "out.viva-0.tmp"
    with subprocess.Popen([program, "quantize", slow_model, out, "--format", "nvfp4", "-q", "-t", "1"],
                          stderr=subprocess.PIPE,
                          preexec_fn=ignore_no_signal) as child:
        while not (unfinished / "model.safetensors").exists() and child.poll() is None:
            time.sleep(0.002)
        child.send_signal(number)
        message = child.communicate(timeout=300)[1]
    assert child.returncode == code, message
    # A killed program cannot tidy up; the next one does.
    left = [unfinished.name, unfinished.with_suffix(".lock").name] if number == signal.SIGKILL else []
    assert sorted(os.listdir(tmp_path)) == sorted(left)
    assert quantize(program, TINY, out, "--format", "fp8").returncode == 0
    assert (out / "config.json").exists() and (out / "model.safetensors").exists()
    assert os.listdir(tmp_path) == ["out"]


def test_nohup_goes_on_after_the_terminal(program, slow_model, tmp_path):
    out = tmp_path / "out"
    with subprocess.Popen([program, "quantize", slow_model, out, "--format", "fp8", "-q"],
                          preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as child:
        while not (tmp_path / "out.viva-0.tmp").exists() and child.poll() is None:
            time.sleep(0.002)
        child.send_signal(signal.SIGHUP)
    assert child.returncode == 0
    assert os.listdir(tmp_path) == ["out"]


def test_what_was_there_stays_until_the_new_one_is_complete(program, slow_model, tmp_path):
    out = tmp_path / "out"
    assert quantize(program, TINY, out, "--format", "fp8").returncode == 0
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with subprocess.Popen([program, "quantize", slow_model, out, "--format", "nvfp4", "-q", "-t", "1", "--overwrite"]) as child:
        while not (tmp_path / "out.viva-0.tmp").exists() and child.poll() is None:
            time.sleep(0.002)
        child.terminate()
    assert child.returncode == 130
    assert os.listdir(tmp_path) == ["out"]
    assert before == {file.name: file.read_bytes() for file in out.iterdir()}


def test_no_room_for_a_file(program, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))  # the tokenizer's file fits, the weights do not

    out = tmp_path / "out"
    fails(quantize(program, TINY, out, "--format", "fp8", preexec_fn=limit), 4, "cannot write the file",
          "no file may be so large here")
    assert os.listdir(tmp_path) == []


def test_nowhere_to_write(program, tmp_path):
    """Places where nobody makes a folder, not even root."""
    (tmp_path / "file").write_text("a file")
    fails(quantize(program, TINY, tmp_path / "file", "--format", "fp8"), 4, "found a file")
    fails(quantize(program, TINY, tmp_path / "file" / "out", "--format", "fp8"), 4, "cannot make the folder", "not a folder")
    fails(quantize(program, TINY, "/proc/viva-out", "--format", "fp8"), 4, "cannot make the folder", "/proc/viva-out")
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "a file"


def test_never_its_input(program, tmp_path):
    """Also by another name."""
    model, link = tmp_path / "model", tmp_path / "link"
    assert quantize(program, TINY, model, "--format", "fp8").returncode == 0
    link.symlink_to(model)
    before = {file.name: file.read_bytes() for file in model.iterdir()}
    for source, out in ((model, link), (link, model), (model / "model.safetensors", model), (model, tmp_path)):
        for options in ((), ("--overwrite",)):
            fails(quantize(program, source, out, "--format", "bf16", *options), 1, "this folder holds the input")
    for out in (link / "out", model / ".." / "model" / "out"):
        fails(quantize(program, model, out, "--format", "bf16"), 1, "lies in the input's folder")
    fails(quantize(program, TINY, TINY, "--format", "bf16", "--overwrite"), 1, "input and output are the same")
    assert before == {file.name: file.read_bytes() for file in model.iterdir()}
    assert sorted(os.listdir(tmp_path)) == ["link", "model"]


@pytest.mark.parametrize("how", ["symbolic", "hard", "inside"])
def test_never_its_input_through_links(program, tmp_path, how):
    """A file of OUT is the input, by another name; or a link in OUT leads to the input."""
    out, source = tmp_path / "out", tmp_path / "model.gguf"
    assert quantize(program, TINY, out, "--format", "fp8").returncode == 0
    if how == "inside":
        source.write_bytes(TINY.read_bytes())
        (out / "model.gguf").symlink_to(source)
    else:
        (out / "model.gguf").write_bytes(TINY.read_bytes())
        source.symlink_to(out / "model.gguf") if how == "symbolic" else os.link(out / "model.gguf", source)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    fails(quantize(program, source, out, "--format", "nvfp4", "--overwrite"), 1, "a file of this folder is an input")
    assert before == {file.name: file.read_bytes() for file in out.iterdir()}


def test_an_output_that_is_a_link(program, tmp_path):
    model, link = tmp_path / "model", tmp_path / "link"
    assert quantize(program, TINY, model, "--format", "fp8").returncode == 0
    link.symlink_to(model)
    for options in ((), ("--overwrite",)):
        fails(quantize(program, TINY, link, "--format", "bf16", *options), 4, "exists already" if not options else "symbolic link")
    assert sorted(os.listdir(tmp_path)) == ["link", "model"]


def test_no_output_replaces_an_input(program, tmp_path):
    """By whatever name: what compare, analyze, compress and decompress write."""
    model, text, link, packed = tmp_path / "model.gguf", tmp_path / "text", tmp_path / "link.npz", tmp_path / "packed"
    model.write_bytes(TINY.read_bytes())
    text.write_text(" ".join(str(i) for i in range(30)))
    subprocess.run([program, "compress", model, "-o", packed, "-q"], check=True)
    hard = tmp_path / "hard.npy"
    os.link(packed, link)
    os.link(model, hard)
    commands = [["compare", model, TINY, "-f", text, "-c", "32", "-q", "--html", page] for page in (model, text)]
    commands += [["analyze", model, "--html", model], ["compress", model, "-o", model], ["decompress", packed, "-o", packed],
                 ["decompress", packed, "-o", link]]
    commands += [["debug-decode", "-m", model, "-q", "--dump", "logits=" + str(out)] for out in (model, hard)]
    for command in commands:
        before = Path(str(command[-1]).removeprefix("logits=")).read_bytes()
        done = subprocess.run([program, *command], capture_output=True, text=True, timeout=300)
        fails(done, 1, "input and output are the same")
        assert Path(str(command[-1]).removeprefix("logits=")).read_bytes() == before


def test_positions_that_config_json_cannot_say(program, tmp_path):
    fails(quantize(program, ROPE, tmp_path / "out", "--format", "fp8"), 2, "rope_freqs.weight", "config.json cannot say",
          "quantize the Hugging Face folder")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("command", ["quantize", "compare"])
def test_little_memory(program, tmp_path, command):
    """Under every limit of address space: a message that there is no memory (or no thread), or the whole result."""
    out = tmp_path / "out"
    (tmp_path / "text").write_text(" ".join(str(i) for i in range(30)))
    arguments = {"quantize": [TINY, out, "--format", "nvfp4", "--overwrite"],
                 "compare": [TINY, TINY, "--weights", "nvfp4", "-f", tmp_path / "text", "-c", "32"]}[command]
    codes = set()

    least = least_memory(program)
    for kib in range(least, least + 32000, 800):
        done = run_under(kib, [program, command, *arguments, "-q", "-t", "2"])
        codes.add(done.returncode)
        assert done.returncode in (0, 3, 127), (kib, done)  # 127: the system could not even start it
        if done.returncode == 3:
            assert "no memory" in done.stderr or "refused thread" in done.stderr, (kib, done.stderr)
        assert set(os.listdir(tmp_path)) <= {"text", "out"}
    assert {0, 3} <= codes
