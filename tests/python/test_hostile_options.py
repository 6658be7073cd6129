"""Every option that takes a value, of every command, with values that nobody means: a refusal with words, or a run that a signal ends.
No crash, no hang, nothing of a refused value's million characters on the terminal."""

import os
import re
import subprocess

import pytest
from commands import commands, ignore_no_signal, make_inputs

SLOW = bool(os.environ.get("VIVA_SLOW"))
PATIENCE = 1.0  # seconds after which a run whose value was accepted is ended
# Of these no numeric option can mean anything.
NONSENSE = ["", " ", "nan", "-nan", "inf", "-inf", "1e999", "-1e999", "0x10", "0x", "1e", "--", "1,,2", "1 2", "+", ".", "1.5.2", "1_000",
            "\u0661", "-99999999999999999999999", "7" * 1000000, "\u202e1", "1\n", "\x1b[31m1"]
# No count can be this.
COUNTS = re.compile(r"^(N|N,\.\.\.|P)$")
LARGE = ["99999999999999999999999"]
# Some take these.
ODD = ["-0", "0", "-1", "1", "1e-400", "2147483647", "2147483648", "4294967296", "9223372036854775807", "18446744073709551615", "1e308", "-1.5",
       "0.0000001", "00000012", "1,2,3"]
VALUES = NONSENSE + LARGE + ODD
NUMERIC = re.compile(r"^(N|X|MB|PERCENT|N,\.\.\.|P)$")


def is_nonsense(kind, value):
    return bool(NUMERIC.match(kind)) and value in NONSENSE or bool(COUNTS.match(kind)) and value in LARGE


def options(program, name):
    """(option, what its value is called) of a command, from its help."""
    text = subprocess.run([program, name, "--help"], capture_output=True, text=True, check=True).stdout
    for line in text.splitlines():
        found = re.match(r"^  (?:-\w, |    )(--[\w-]+) (\S+)", line)
        if found and (NUMERIC.match(found[2]) or found[2].isupper() or "|" in found[2] or "[" in found[2]):
            yield found[1], found[2]


@pytest.fixture(scope="module")
def inputs(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(program, folder)
    return folder


def test_values(program, inputs, tmp_path):
    seen, number, told = set(), 0, []
    for command in commands(inputs):
        name = command.words[0]
        if name in seen or name == "help":
            continue
        seen.add(name)
        for option, kind in options(program, name):
            for value in VALUES:
                number += 1
                if not SLOW and number % 32:
                    continue
                check(program, command, tmp_path, option, kind, value, told)
    assert len(seen) >= 15 and number > 4000 and not told, "\n".join(told)


def check(program, command, folder, option, kind, value, told):
    line = [*command.line(program, folder), option, value[:120000]]  # the system takes 128 KiB for a word
    label = f"{command.words[0]} {option} {value[:30]!r}"
    run = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder,
                           preexec_fn=ignore_no_signal)
    try:
        out, err = run.communicate(command.input, timeout=PATIENCE)
    except subprocess.TimeoutExpired:  # accepted, and at work
        run.terminate()
        try:
            out, err = run.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
            told.append(f"{label}: SIGTERM did not end it")
            return
        if is_nonsense(kind, value):
            told.append(f"{label}: accepted")
        return
    if run.returncode not in (0, 1, 2, 3, 4):
        told.append(f"{label}: {run.returncode} {err[-300:]!r}")
    if is_nonsense(kind, value) and run.returncode != 1:
        told.append(f"{label}: {run.returncode}, expected 1: {err[-300:]!r}")
    if run.returncode and (not err.strip() or len(err) > 5000):
        told.append(f"{label}: {len(err)} bytes of words")
    if b"\x1b[31m" in err or "\u202e".encode() in err:
        told.append(f"{label}: raw on the terminal")
