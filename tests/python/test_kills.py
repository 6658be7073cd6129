"""Every command that writes, killed at every system call: what was there or the new output, whole, and the next run tidies up.

In CI some of the calls, most of them of the last step (tests/base/test_commit.c has each of that); with VIVA_SLOW=1 each call,
and 2,000 kills at random times of runs with several threads.
"""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import make_inputs

TINY = Path(__file__).resolve().parent.parent / "golden" / "tiny.gguf"
SLOW = bool(os.environ.get("VIVA_SLOW"))
LAST = 110  # calls: more than the last step takes
RANDOM_KILLS = 2000 if SLOW else 40  # of all kinds together


@pytest.fixture(scope="module")
def killer(program):
    tool = Path(program).resolve().parent / "tests" / "at_call"
    if not tool.exists():
        pytest.skip(f"{tool} is not built")
    if subprocess.run([tool, "kill", "0", "/bin/true"], capture_output=True).returncode == 77:
        pytest.skip("processes cannot be traced here")
    return tool


def contents(path):
    if path.is_dir():
        return {file.name: file.read_bytes() for file in path.iterdir()}
    return path.read_bytes() if path.exists() else None


class Quantize:
    stdin = os.devnull

    def __init__(self, program, folder, existing):
        self.out, self.existing, self.program = folder / "out", existing, program

    def command(self, rule="nvfp4", threads="1"):
        return [self.program, "quantize", TINY, self.out, "--format", rule, "--overwrite", "-q", "-t", threads]

    def prepare(self):
        subprocess.run(["rm", "-rf", self.out], check=True)
        if self.existing:
            subprocess.run(self.command("fp8"), check=True, stdout=subprocess.DEVNULL)


class Page:
    stdin = os.devnull

    def __init__(self, program, folder, existing):
        self.out, self.existing, self.program, self.text = folder / "page.html", existing, program, folder / "text"
        self.text.write_text(" ".join(str(i) for i in range(30)))

    def command(self, rule="nvfp4", threads="1"):
        return [self.program, "compare", TINY, TINY, "--weights", rule, "-f", self.text, "-c", "32", "--chunks", "1", "-q", "-t",
                threads, "--html", self.out]

    def prepare(self):
        self.out.unlink(missing_ok=True)
        if self.existing:
            command = self.command("fp8")
            with open(self.stdin, "rb") as stdin:
                subprocess.run(command, check=True, stdin=stdin, stdout=subprocess.DEVNULL)


class Arrays:
    """What decompress writes through the library; Floats, through viva_file."""
    stdin = os.devnull
    name = "out.npz"

    def __init__(self, program, folder, existing):
        self.out, self.existing, self.program, self.source = folder / self.name, existing, program, folder / "in.viva"
        subprocess.run([program, "compress", TINY, "-o", self.source, "-q"], check=True)

    def command(self, rule="nvfp4", threads="1"):
        names = ["--tensor", "blk.0.attn_k.weight"] if rule == "fp8" else []
        return [self.program, "decompress", self.source, "-o", self.out, "-q", "-t", threads, *names]

    def prepare(self):
        self.out.unlink(missing_ok=True)
        if self.existing:
            subprocess.run(self.command("fp8"), check=True, stdout=subprocess.DEVNULL)


class Analysis(Page):
    """The other command that writes a page."""

    def command(self, rule="nvfp4", threads="1"):
        name = "attn_k" if rule == "fp8" else "attn_q"
        return [self.program, "analyze", TINY, "--tensor", f"blk.0.{name}.weight", "-t", threads, "--html", self.out]


class Conversation(Page):
    """What /save of a chat writes."""

    def __init__(self, program, folder, existing):
        make_inputs(program, folder)
        self.out, self.existing, self.program, self.model = folder / "saved.json", existing, program, folder / "chat"
        self.stdin = folder / "typed"

    def command(self, rule="nvfp4", threads="1"):
        self.stdin.write_text(f"{'a b' if rule == 'fp8' else 'c d'}\n/save {self.out}\n")
        return [self.program, "chat", "-m", self.model, "-n", "2", "-q", "--temp", "0", "-t", threads]


class Floats(Arrays):
    name = "out.f32"


class Container(Arrays):
    name = "out.viva"

    def command(self, rule="nvfp4", threads="1"):
        return [self.program, "compress", TINY, "-o", self.out, "-q", "-t", threads, "--codec", "affine", "--bits",
                "5" if rule == "fp8" else "6"]


def restore(path, old):
    subprocess.run(["rm", "-rf", path], check=True)
    if isinstance(old, dict):
        path.mkdir()
        for name, data in old.items():
            (path / name).write_bytes(data)
    elif old is not None:
        path.write_bytes(old)


def page_of(writer, text):
    """A page without what differs from run to run."""
    return (len(text) > 1000, text[-8:]) if isinstance(writer, Page) and not isinstance(writer, Conversation) and text else text


def run(writer, *before, **how):
    command = writer.command()
    with open(writer.stdin, "rb") as stdin:
        return subprocess.run([*before, *command], stdin=stdin, **how)


def check_after_kill(writer, folder, others, old, new):
    now = page_of(writer, contents(writer.out))
    assert now in (page_of(writer, old), page_of(writer, new))
    run(writer, check=True, stdout=subprocess.DEVNULL)
    assert page_of(writer, contents(writer.out)) == page_of(writer, new)
    assert sorted(os.listdir(folder)) == sorted(others | {writer.out.name})


def states(writer):
    writer.prepare()
    old = contents(writer.out)
    run(writer, check=True, stdout=subprocess.DEVNULL)
    return old, contents(writer.out)


KINDS = [(Quantize, False), (Quantize, True), (Page, True), (Arrays, True), (Floats, True), (Container, True), (Analysis, True),
         (Conversation, True)]


@pytest.mark.parametrize(("kind", "existing"), KINDS + ([(kind, False) for kind, _ in KINDS[2:]] if SLOW else []))
def test_killed_at_every_call(program, killer, tmp_path, kind, existing):
    writer = kind(program, tmp_path, existing)
    others = set(os.listdir(tmp_path)) | ({"typed"} if kind is Conversation else set())
    old, new = states(writer)
    restore(writer.out, old)
    counted = run(writer, killer, "kill", "0", capture_output=True, check=True).stdout
    total = int(counted.splitlines()[-1])
    places = range(1, total + 1) if SLOW else [*range(1, total - LAST, 97), *range(max(1, total - LAST), total + 1, 10)]
    killed = 0
    for place in places:
        restore(writer.out, old)
        done = run(writer, killer, "kill", str(place), capture_output=True)
        assert done.returncode in (0, 128 + signal.SIGKILL), done
        killed += done.returncode != 0
        check_after_kill(writer, tmp_path, others, old, new)
    assert killed > len(places) // 2


@pytest.mark.parametrize(("kind", "existing"), KINDS)
def test_killed_at_random(program, tmp_path, kind, existing):
    """With several threads."""
    writer = kind(program, tmp_path, existing)
    others = set(os.listdir(tmp_path)) | ({"typed"} if kind is Conversation else set())
    old, new = states(writer)
    begin = time.monotonic()
    run(writer, check=True, stdout=subprocess.DEVNULL)
    longest = time.monotonic() - begin
    chance = random.Random(7)
    for _ in range(RANDOM_KILLS // len(KINDS)):
        restore(writer.out, old)
        command = writer.command(threads="2")
        with open(writer.stdin, "rb") as stdin, subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL) as child:
            time.sleep(chance.uniform(0, longest))
            child.kill()
        check_after_kill(writer, tmp_path, others, old, new)
