"""Every file under tests/hostile/, through the program as a user runs it.

Each folder's expected.tsv says what must be refused: file, status, fragment of the message. The programs are $VIVA_PROGRAM
(release) and $VIVA_PROGRAM_ASAN, which is left out when unset (tools/check sets both). What is refused must end with exit code 2, name the file and
the reason on stderr, take at most 100 ms of the processor, and, on the release build, at most 64 MiB and twice the file's
size.

`viva inspect` also shows models that it cannot run; a file that it accepts must be refused by `viva generate`.

Tokenizers (tokenizer/, rows B of the catalogue) are asked by `viva tokenize`; those with VIVA_OK are odd and harmless. What is too
much work for a text (VIVA_E_LIMIT) ends within a second, with exit code 3.
"""

import os
import re
import shutil
import struct
from pathlib import Path

import measured
import pytest

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden" / "safetensors"
SECONDS = 0.100  # of the processor: how long one waits depends on what else the machine does
WAIT = 5.0  # and no hanging
TRIES = 8  # the fastest counts
RSS_KIB = 64 * 1024
STACK_KIB = 256  # recursion that follows the input dies here
PLACE = re.compile(r"^viva: \S+\.(gguf|safetensors|json): ", re.M)

PROGRAMS = {"release": os.environ["VIVA_PROGRAM"]}  # no program, no test: an error, not a pass
if "VIVA_PROGRAM_ASAN" in os.environ:
    PROGRAMS["asan"] = os.environ["VIVA_PROGRAM_ASAN"]


def rows(tokenizers=False):
    for listing in sorted(HERE.glob("*/expected.tsv")):
        if (listing.parent.name == "tokenizer") != tokenizers:
            continue
        for line in listing.read_text(encoding="utf-8").splitlines():
            name, status, fragment = line.split("\t")
            yield listing.parent.name, name, status, fragment


def place(kind, name, folder):
    """Puts one hostile file where its reader looks for it; returns MODEL."""
    source = HERE / kind / name
    if kind == "index":
        for shard in GOLDEN.glob("*.safetensors"):
            shutil.copy(shard, folder)
        (folder / "text.safetensors").write_text("no model")
        return shutil.copy(source, folder / "model.safetensors.index.json")
    if kind == "config":
        shutil.copy(GOLDEN / "shard_a.safetensors", folder / "model.safetensors")
        shutil.copy(source, folder / "config.json")
        return folder
    return source


class Run(measured.Run):
    def __init__(self, build, *arguments):
        super().__init__(["sh", "-c", f"ulimit -s {STACK_KIB if build == 'release' else 1024}; exec \"$@\"", "sh", PROGRAMS[build],
                          *arguments])


def refuse(build, model, fragment, size):
    """Checks that model is refused; returns the command that did."""
    for command in (["inspect", model], ["generate", "-m", model, "-p", "a", "-n", "1"]):
        run = Run(build, *command)
        assert "Sanitizer" not in run.stderr and "runtime error" not in run.stderr, run.stderr
        assert run.code in (0, 2), f"{command[0]} ended with {run.code}: {run.stderr}"
        for _ in range(TRIES):
            if run.seconds <= SECONDS:
                break
            run = Run(build, *command)
        assert run.seconds <= SECONDS, f"{command[0]} took {run.seconds * 1e3:.0f} ms"
        assert run.waited <= WAIT, f"{command[0]} took {run.waited:.1f} s"
        if build == "release":
            assert run.rss <= RSS_KIB + 2 * size // 1024, f"{command[0]} took {run.rss} KiB"
        if run.code == 2:
            assert fragment in run.stderr, run.stderr
            assert PLACE.search(run.stderr), f"no place: {run.stderr}"
            return command[0]
    raise AssertionError("accepted by inspect and by generate")


@pytest.mark.parametrize("build", PROGRAMS)
@pytest.mark.parametrize("kind, name, status, fragment", list(rows()), ids=lambda value: str(value).split(".")[0][:40])
def test_refused(kind, name, status, fragment, build, tmp_path):
    refuse(build, place(kind, name, tmp_path), fragment, (HERE / kind / name).stat().st_size)


@pytest.mark.parametrize("build", PROGRAMS)
@pytest.mark.parametrize("kind, name, status, fragment", list(rows(True)), ids=lambda value: str(value).split(".")[0][:40])
def test_tokenizer(kind, name, status, fragment, build):
    run = Run(build, "tokenize", "-m", HERE / kind / name, "-p", "a" * 3000 + "!")
    assert "Sanitizer" not in run.stderr and "runtime error" not in run.stderr, run.stderr
    assert run.code == {"VIVA_OK": 0, "VIVA_E_LIMIT": 3}.get(status, 2), run.stderr
    assert fragment in run.stderr, run.stderr
    assert run.seconds <= 1, f"took {run.seconds * 1e3:.0f} ms"
    assert build != "release" or run.rss <= RSS_KIB, f"took {run.rss} KiB"


def gguf_string(text):
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize("build", PROGRAMS)
@pytest.mark.parametrize("size", [2**31 - 1, 2**31, 2**32 + 1])
def test_b01_token_as_long_as_its_file(build, size, tmp_path):
    """A length that is no int32; the file is there, but has holes for the token's bytes."""
    string, array = struct.pack("<I", 8), struct.pack("<I", 9)
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + gguf_string(b"tokenizer.ggml.model") + string + gguf_string(b"gpt2")
    head += gguf_string(b"tokenizer.ggml.tokens") + array + string + struct.pack("<QQ", 1, size)
    model = tmp_path / "long.gguf"
    model.write_bytes(head)
    os.truncate(model, len(head) + size)
    for command in (["tokenize", "-m", model, "-p", "a"], ["inspect", model]):
        run = Run(build, *command)
        assert run.code == 3 and "first GiB" in run.stderr and "Sanitizer" not in run.stderr, run.stderr
        assert run.seconds <= 1 and (build != "release" or run.rss <= RSS_KIB), f"{run.seconds} s, {run.rss} KiB"


@pytest.mark.parametrize("build", PROGRAMS)
@pytest.mark.parametrize("load", ["read", "mmap"])
def test_real_model_cut_at_200_places(smollm2_path, build, load, tmp_path):
    """Cut anywhere, the real model is refused: header and data alike, before anything is read from where it ends."""
    size = smollm2_path.stat().st_size
    copy = tmp_path / "cut.gguf"
    shutil.copy(smollm2_path, copy)
    header = 1_800_000  # tokens and tensors: half of the cuts are in here
    cuts = {header * i // 100 for i in range(100)} | {size - 1 - (size - header) * i // 100 for i in range(100)}
    assert len(cuts) == 200
    for cut in sorted(cuts, reverse=True):
        os.truncate(copy, cut)
        run = Run(build, "inspect", copy, "--load", load)
        assert run.code == 2 and "cut.gguf" in run.stderr, f"{cut}: {run.code}, {run.stderr}"
        assert "Sanitizer" not in run.stderr, run.stderr
