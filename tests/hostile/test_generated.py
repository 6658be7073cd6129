"""Every case of generate.py, through the program as a user runs it: refused with the file's name, or its part, and the reason; in
100 ms of the processor; in 64 MiB and twice the file's size. In CI one in 16 (64 under ASan), with VIVA_SLOW=1 all, on both programs."""

import collections
import os

import measured
import pytest
from generate import Base, cases

SLOW = bool(os.environ.get("VIVA_SLOW"))
PROGRAMS = {"release": os.environ["VIVA_PROGRAM"]}
if "VIVA_PROGRAM_ASAN" in os.environ:
    PROGRAMS["asan"] = os.environ["VIVA_PROGRAM_ASAN"]
EVERY = {"release": 1 if SLOW else 16, "asan": 1 if SLOW else 64}
LEAST = {"safetensors": 240, "gguf": 400, "config": 200, "index": 70, "quant": 500, "npy": 140, "container": 240, "tokenizer": 290,
         "tokenizer_files": 150, "template": 60}
SECONDS = 0.100
WAIT = 5.0
TRIES = 8  # the fastest counts
PROGRAM_KIB = 16 << 10  # the program, its libraries and the small model that a tokenizer's folder has


@pytest.fixture(scope="module")
def base(program, tmp_path_factory):
    return Base(tmp_path_factory.mktemp("base"), program)


def check(build, case, folder):
    """What is wrong with how the case was taken; None: nothing."""
    case.write(folder)
    command = [PROGRAMS[build], *case.arguments(folder)]
    run = measured.Run(command)
    for _ in range(TRIES):
        if run.seconds <= SECONDS:
            break
        run = measured.Run(command)
    said = run.stderr.strip()
    if "Sanitizer" in said or "runtime error" in said:
        return said
    if run.code not in (2, 3):
        return f"ended with {run.code}: {said}"
    if not said.startswith("viva: ") or not said.splitlines()[-1].startswith("viva: "):
        return f"said {said!r}"
    if run.waited > WAIT or (build == "release" and run.seconds > SECONDS):
        return f"took {run.seconds:.3f} s, and {run.waited:.1f} of waiting"
    if build == "release" and run.rss > PROGRAM_KIB + (64 << 10) + 2 * case.size // 1024:
        return f"took {run.rss} KiB"
    outputs = {path.name for path in folder.iterdir()} - set(case.files) - ({p.name for p in case.base.iterdir()} if case.base else set())
    return f"left {outputs}" if outputs else None


@pytest.mark.parametrize("build", PROGRAMS)
def test_generated(base, build, tmp_path):
    wrong, counts = [], collections.Counter()
    for i, case in enumerate(cases(base)):
        counts[case.kind] += 1
        if i % EVERY[build]:
            continue
        folder = tmp_path / str(i)
        folder.mkdir()
        fault = check(build, case, folder)
        if fault:
            wrong.append(f"{case.kind} {case.name}: {fault}")
        for path in folder.iterdir():
            path.unlink()
    assert not wrong, "\n".join(wrong[:20])
    assert all(counts[kind] >= least for kind, least in LEAST.items()), counts


def test_good_files_are_accepted(base, tmp_path):
    """What the cases are made of breaks no rule."""
    for words in (["generate", "-m", base.model(), "-p", "a", "-n", "1"], ["decompress", base.container("affine"), "-o", tmp_path / "a.npz"],
                  ["tokenize", "-m", base.model(), "-p", "a"]):
        run = measured.Run([PROGRAMS["release"], *words])
        assert run.code == 0, run.stderr
