"""No output destroys what a command reads: nor by a path that it is read by unsaid (standard input, the files beside the one that was
named), nor while it is read."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import TINY, ignore_no_signal, make_inputs


@pytest.fixture(scope="module")
def inputs(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(program, folder)
    (folder / "floats.f32").write_bytes(bytes(4000))
    chat = folder / "chat"
    (chat / "model.safetensors.index.json").write_text("{}")
    (chat / "shard.safetensors").write_bytes(b"a shard")
    return folder


def run(line, stdin, **how):
    with open(stdin, "rb") as file:
        return subprocess.run([str(word) for word in line], stdin=file, capture_output=True, timeout=60, **how)


def refuses(line, output, words, stdin=os.devnull):
    before = output.read_bytes()
    done = run(line, stdin)
    assert done.returncode == 1 and words in done.stderr, done
    assert output.read_bytes() == before


def test_standard_input_is_an_input(program, inputs, tmp_path):
    link = tmp_path / "link.f32"
    os.link(inputs / "floats.f32", link)
    text = inputs / "text"
    words = b"standard input reads this file"
    refuses([program, "compress", "-", "-o", inputs / "floats.f32"], inputs / "floats.f32", words, inputs / "floats.f32")
    refuses([program, "compress", "-", "-o", link], link, words, inputs / "floats.f32")
    refuses([program, "decompress", "-", "-o", inputs / "packed.viva"], inputs / "packed.viva", words, inputs / "packed.viva")
    refuses([program, "compare", TINY, TINY, "--weights", "fp8", "-c", "32", "-q", "-f", "-", "--html", text], text, words, text)
    refuses([program, "debug-decode", "-m", TINY, "-q", "-f", "-", "--dump", f"logits={text}"], text, words, text)
    done = run([program, "debug-decode", "-m", TINY, "-q", "-f", "-", "--dump", f"logits={tmp_path}/out.npy"], text)
    assert done.returncode == 0 and (tmp_path / "out.npy").exists(), done


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_files_beside_the_one_that_is_named(program, inputs, tmp_path, name):
    model, out, words = inputs / "chat" / "model.safetensors", inputs / "chat" / name, b"it is read with"
    refuses([program, "compare", model, TINY, "-f", inputs / "text", "-c", "32", "-q", "--html", out], out, words)
    refuses([program, "analyze", model, "--html", out], out, words)
    link = tmp_path / "link.npy"
    os.link(out, link)
    refuses([program, "debug-decode", "-m", model, "-q", "--dump", f"logits={link}"], link, words)
    before = out.read_bytes()
    done = subprocess.run([program, "chat", "-m", model, "-n", "2", "-q"], input=f"a b\n/save {out}\n".encode(), capture_output=True)
    assert words in done.stderr and out.read_bytes() == before, done
    inside = subprocess.run([program, "analyze", model.name, "--html", name], capture_output=True, cwd=model.parent)
    assert inside.returncode == 1 and words in inside.stderr and out.read_bytes() == before, inside


def test_shards_of_an_index(program, inputs):
    shard = inputs / "chat" / "shard.safetensors"
    refuses([program, "compress", inputs / "chat" / "model.safetensors.index.json", "-o", shard], shard, b"it is read with")
    done = run([program, "decompress", inputs / "packed.viva", "-o", inputs / "other.safetensors", "-q"], os.devnull)
    assert done.returncode == 0, done  # what lies beside other inputs is replaced
    again = run([program, "decompress", inputs / "packed.viva", "-o", inputs / "other.safetensors", "-q"], os.devnull)
    assert again.returncode == 0, again


@pytest.mark.parametrize("by_name", [True, False])
def test_never_reads_what_it_writes(program, inputs, tmp_path, by_name):
    """Appended to its own input, a command that writes while it reads would go on until the disk is full."""
    for words, source in ((["tokenize", "-m", TINY, "--ids", "-f"], "text"), (["compress", "-o", "-"], "floats.f32"),
                          (["decompress", "-o", "-"], "packed.viva")):
        file = tmp_path / source
        file.write_bytes((inputs / source).read_bytes())
        with open(file, "ab") as out, open(file, "rb") as stdin:
            done = subprocess.run([program, *words, file if by_name else "-"], stdin=stdin, stdout=out, stderr=subprocess.PIPE, timeout=60)
        assert done.returncode == 1 and b"input and output are the same" in done.stderr, (words, done)
        assert file.read_bytes() == (inputs / source).read_bytes(), words


def test_a_pipe_without_a_writer(program, tmp_path):
    """Opening it waits; Ctrl-C ends that too. Where a file is needed, nothing waits."""
    pipe, floats = tmp_path / "pipe", tmp_path / "pipe.f32"
    os.mkfifo(pipe)
    os.mkfifo(floats)
    for words in (["decompress", pipe, "-o", tmp_path / "out"], ["generate", "-m", TINY, "-f", pipe], ["tokenize", "-m", TINY, "-f", pipe]):
        with subprocess.Popen([program, *words], stderr=subprocess.PIPE, preexec_fn=ignore_no_signal) as child:
            while Path(f"/proc/{child.pid}/stat").read_text().split(") ")[1][0] != "S":  # it waits
                time.sleep(0.005)
            child.send_signal(signal.SIGINT)
            message = child.communicate(timeout=60)[1]
        assert child.returncode == 130 and b"stopped" in message, (words, message)
    for words in (["analyze", floats], ["compress", floats, "-o", tmp_path / "out"]):
        done = run([program, *words], os.devnull)
        assert done.returncode == 4 and b"expected a file of floats" in done.stderr, done
    assert sorted(os.listdir(tmp_path)) == ["pipe", "pipe.f32"]
