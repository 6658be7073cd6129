"""Standard streams that are closed, in all eight combinations, and few handles: no message is written into a file, nothing crashes."""

import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from commands import commands, contents, make_inputs, whole

SLOW = bool(os.environ.get("VIVA_SLOW"))
TINY = Path(__file__).resolve().parent.parent / "golden" / "tiny.gguf"


def run(command, closed=(), limit=None):
    def begin():
        for fd in closed:
            os.close(fd)
        if limit:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=begin,
                          timeout=60).returncode


@pytest.fixture(scope="module")
def inputs(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(program, folder)
    return folder


@pytest.mark.parametrize("closed", [[fd for fd in range(3) if mask >> fd & 1] for mask in range(8)])
def test_closed_streams(program, tmp_path, closed):
    expected = 4 if 1 in closed else 0  # what is printed is lost
    writes = {"packed": ["compress", TINY, "-o"], "folder": ["quantize", TINY, "--format", "fp8"],
              "values.f32": ["decompress", tmp_path / "packed", "-o"]}
    for name, command in writes.items():
        assert run([program, *command, tmp_path / "whole"]) == 0
        code = run([program, *command, tmp_path / name], closed)
        assert code in (0, expected), (name, code)
        assert contents(tmp_path / name) == contents(tmp_path / "whole")
        subprocess.run(["rm", "-rf", tmp_path / "whole"], check=True)
    assert run([program, "inspect", TINY], closed) == expected
    assert run([program, "generate", "-m", TINY, "-p", "a", "-n", "2"], closed) == expected
    assert run([program, "inspect", tmp_path / "none"], closed) == 4
    assert sorted(os.listdir(tmp_path)) == sorted(writes)


@pytest.mark.parametrize("name", [command.name for command in commands(Path())])
def test_every_command(program, tmp_path, inputs, name):
    """Ends as it must, and what it has written is whole: no message is in it."""
    command = next(command for command in commands(inputs) if command.name == name)
    folder = tmp_path / "out"
    folder.mkdir()
    assert run(command.line(program, folder)) in (0, 4)  # chat has no question
    new = contents(folder / command.output) if command.output and (folder / command.output).exists() else None
    for mask in range(1, 8) if SLOW else (5, 7):
        shutil.rmtree(folder)
        folder.mkdir()
        code = run(command.line(program, folder), [fd for fd in range(3) if mask >> fd & 1])
        assert code in (0, 4), mask
        assert os.listdir(folder) in ([], [command.output]), mask
        for file in os.listdir(folder):
            assert whole(command, new, new, contents(folder / file)), mask


def test_few_handles(program, tmp_path):
    """From enough down to what the loader itself needs: success, or code 4 and nothing left."""
    for limit in range(16, 4, -1):
        code = run([program, "quantize", TINY, tmp_path / "out", "--format", "fp8", "-q"], limit=limit)
        assert code == 0 if limit == 16 else code in (0, 3, 4), (limit, code)
        assert os.listdir(tmp_path) == (["out"] if code == 0 else [])
        subprocess.run(["rm", "-rf", tmp_path / "out"], check=True)
