"""Every command, and everything it asks the system for refused once: each allocation, each thread, each system call. An error with its
words, nothing lost, nothing left behind, nothing kept in memory; or, where it can do without, the same result.

In CI some of the places, with VIVA_SLOW=1 all of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import commands, contents, make_inputs, whole

SLOW = bool(os.environ.get("VIVA_SLOW"))
PLACES = 3  # in CI, of each kind, for each command
NAMES = [command.name for command in commands(Path())]
TRACED = NAMES if SLOW else ["generate", "chat", "quantize", "compress"]  # tracing costs more
CODES = (2, 3, 4)  # what an error of the system may be: of a file, of memory, of reading and writing
NOT_STARTED = 127  # the system could not even load the program


@pytest.fixture(scope="module")
def inputs(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(program, folder)
    return folder


@pytest.fixture(scope="module")
def tools(program):
    folder = Path(program).resolve().parent / "tests"
    if not (folder / "at_call").exists() or not (folder / "libfail_memory.so").exists():
        pytest.skip(f"{folder} has no at_call and libfail_memory.so")
    return folder


def run(line, command, folder, **environment):
    return subprocess.run(line, input=command.input.replace(b"{}", str(folder).encode()), capture_output=True, timeout=120,
                          env={**os.environ, **environment})


class Trial:
    """A command that is run again and again in a folder of its own, where an output is already."""

    def __init__(self, program, command, folder):
        self.program, self.command, self.folder = program, command, folder
        folder.mkdir()
        self.line = command.line(program, folder)
        self.out = folder / command.output if command.output else None
        done = run(self.line, command, folder)
        assert done.returncode == 0, done.stderr
        self.printed, self.new = done.stdout, contents(self.out) if self.out else None
        self.old = {"config.json": b"{}", "model.safetensors": b"old"} if isinstance(self.new, dict) else b"old"

    def prepare(self):
        if self.out is None:
            return
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        if isinstance(self.old, dict):
            self.out.mkdir()
            for name, data in self.old.items():
                (self.out / name).write_bytes(data)
        else:
            self.out.write_bytes(self.old)

    def check(self, done, place):
        """After a run in which the system refused something."""
        said = done.stderr.decode(errors="replace")
        at = f"{self.command.name}, place {place}: ended with {done.returncode}: {said}"
        assert done.returncode in (0, NOT_STARTED, *CODES), at
        if done.returncode == 0 and not self.command.varies:
            assert done.stdout == self.printed, at
        if done.returncode in CODES:
            assert "viva" in said, at
        if self.out is None:
            return
        found = contents(self.out)
        assert whole(self.command, self.old, self.new, found), at
        if done.returncode == 0:
            assert found != self.old, at
        if os.listdir(self.folder) != [self.out.name]:  # what it could not remove, the next run does
            again = run(self.line, self.command, self.folder)
            assert again.returncode == 0 and os.listdir(self.folder) == [self.out.name], (at, os.listdir(self.folder))


def places(total):
    if SLOW or total <= PLACES:
        return range(1, total + 1)
    return sorted({1 + (total - 1) * i // (PLACES - 1) for i in range(PLACES)})


def find(name, inputs):
    return next(command for command in commands(inputs) if command.name == name)


@pytest.mark.parametrize("name", NAMES)
def test_memory_and_threads(program, tools, inputs, tmp_path, name):
    report = tmp_path / "report"
    trial = Trial(program, find(name, inputs), tmp_path / "out")
    how = {"LD_PRELOAD": str(tools / "libfail_memory.so"), "VIVA_TEST_REPORT": str(report)}

    def fail(place):
        trial.prepare()
        done = run(trial.line, trial.command, trial.folder, VIVA_TEST_FAIL=str(place), **how)
        return done, *map(int, report.read_text().split())

    done, total, _, kept = fail(0)
    assert done.returncode == 0 and total > 0
    for place in places(total):
        done, _, failed, live = fail(place)
        trial.check(done, place)
        assert live <= kept, f"{name}, place {place}: {live} blocks were not freed: {done.stderr}"
        assert failed or trial.command.varies, f"{name}: nothing failed at place {place}"


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.uname().machine != "x86_64", reason="at_call knows x86-64's registers")
@pytest.mark.parametrize("name", TRACED)
def test_system_calls(program, tools, inputs, tmp_path, name):
    trial = Trial(program, find(name, inputs), tmp_path / "out")

    def fail(place):
        trial.prepare()
        return run([tools / "at_call", "fail", str(place), *trial.line], trial.command, trial.folder)

    counted = fail(0)
    if counted.returncode == 77:
        pytest.skip("processes cannot be traced here")
    total = int(counted.stdout.splitlines()[-1])
    for place in places(total):
        trial.check(fail(place), place)
