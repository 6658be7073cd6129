"""docs/tensor.md's matrix is the library's table; the headers' examples are lines of examples/05_tensors.c, which runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

OUTPUT = """turned
[[ 3.   -0.5 ]
 [ 1.    4.  ]
 [ 2.    0.25]]
sorted
[[-0.5   3.  ]
 [ 1.    4.  ]
 [ 0.25  2.  ]]
"""


def test_matrix():
    subprocess.run([sys.executable, ROOT / "tools/make_tensor_matrix", "--check"], check=True)


def test_example(tmp_path):
    library = Path(os.environ["VIVA_LIBRARY"])
    subprocess.run([
        "cc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/include",
        str(ROOT / "examples/05_tensors.c"), "-o", tmp_path / "tensors",
        str(library.with_name("libviva.a")), "-pthread", "-lm"
    ],
                   check=True)
    shown = subprocess.run([tmp_path / "tensors"], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(OUTPUT) and shown.stdout.endswith("halved: 64 x 512\n")
    assert "rows\n[[-0.5   4.    0.25]\n [ 3.    1.    2.  ]\n [-0.5   4.    0.25]]\n" in shown.stdout


def calls(text):
    """The viva_tensor_* calls of a text, with their arguments up to the first bracket."""
    return set(re.findall(r"\bviva_tensor_[a-z0-9_]+(?=\()", text))


def test_headers_examples_are_in_it():
    program = (ROOT / "examples/05_tensors.c").read_text(encoding="utf-8")
    for name in ("tensor_ops", "tensor_algebra", "tensor_select", "tensor_text"):
        comment = (ROOT / f"include/viva/{name}.h").read_text(encoding="utf-8").split("*/")[0]
        example = "\n".join(line for line in comment.splitlines() if line.startswith(" *   "))
        assert calls(example) and calls(example) <= calls(program), f"{name}.h"


def test_headers_are_c_and_cxx(tmp_path):
    for language, standard in (("c", "c11"), ("c++", "c++11")):
        for header in ("tensor", "tensor_ops", "tensor_algebra", "tensor_select", "tensor_text", "dlpack", "npy"):
            subprocess.run([
                "cc", "-x", language, f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                "-fsyntax-only", f"-I{ROOT}/include", "-"
            ],
                           input=f'#include "viva/{header}.h"\n',
                           text=True,
                           check=True)
