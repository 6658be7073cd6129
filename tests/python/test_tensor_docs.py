"""docs/tensor.md's matrix is the library's table; the headers' examples are lines of examples/05_tensors.c, which runs."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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
        for header in ("tensor", "tensor_ops", "tensor_algebra", "tensor_select", "tensor_into", "tensor_text", "dlpack",
                       "npy"):
            subprocess.run([
                "cc", "-x", language, f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                "-fsyntax-only", f"-I{ROOT}/include", "-"
            ],
                           input=f'#include "viva/{header}.h"\n',
                           text=True,
                           check=True)


# What the examples in the headers' first comments need before them, and what must hold after them.
TENSORS = """static viva_tensor *made(viva_engine *engine, uint64_t rows, uint64_t columns) {
  viva_tensor *t = NULL;
  viva_error error;
  if (viva_tensor_random(engine, VIVA_F32, 2, (uint64_t[]){rows, columns}, NULL, &t, &error)) exit(2);
  return t;
}
"""
AROUND = {
    "tensor": ("float data[6] = {1, 2, 3, 4, 5, 6}; size_t bytes = sizeof data, in = 2, out = 3;",
               "viva_tensor_elements(turned) == data"),
    "tensor_ops": ("", "viva_tensor_elements(scaled)"),
    "tensor_algebra": ("viva_tensor *q = made(engine, 4, 8), *k = made(engine, 4, 8), *v = made(engine, 4, 8);",
                       "viva_tensor_elements(mixed)"),
    "tensor_select": ("viva_tensor *embeddings = made(engine, 5, 3), *scores = made(engine, 2, 6), *tokens, *rows, *order, "
                      "*sorted; viva_tensor_from_data(engine, (int64_t[]){4, 0}, 16, VIVA_I64, 1, (uint64_t[]){2}, &tokens, "
                      "&error);", "viva_tensor_elements(rows) && viva_tensor_elements(sorted)"),
    "tensor_into": ("viva_tensor *cache = made(engine, 8, 4), *key = made(engine, 1, 2), *value = made(engine, 1, 2), *row; "
                    "uint64_t position = 5;",
                    "((float *)viva_tensor_elements(cache))[22] == *(float *)viva_tensor_elements(value)"),
    "tensor_text": ("float numbers[6] = {1, 2.5f, 3, -0.125f, 0, 1}; viva_tensor *x; viva_tensor_wrap(engine, numbers, "
                    "sizeof numbers, VIVA_F32, 2, (uint64_t[]){2, 3}, &x, &error);",
                    'strcmp(text, "[[ 1.     2.5    3.   ]\\n [-0.125  0.     1.   ]]") == 0'),
    "dlpack": ("viva_tensor *old = made(engine, 2, 3), *tensor = old;",
               "viva_tensor_elements(tensor) == viva_tensor_elements(old)"),
    "npy": ("", "info.bytes == 24"),
}


def example_of(header):
    """The program in a header's first comment, without the remarks behind its lines."""
    lines = (ROOT / f"include/viva/{header}.h").read_text(encoding="utf-8").split("*/")[0].splitlines()
    program = itertools.takewhile(lambda line: line.startswith(" *   "),
                                  itertools.dropwhile(lambda line: not line.startswith(" *   "), lines))
    return "\n".join(re.sub(r"([;{}]) {3,}\S.*$", r"\1", line[5:]) for line in program)


@pytest.mark.parametrize("header", AROUND)
def test_example_of_header_runs(header, tmp_path):
    before, after = AROUND[header]
    np.savez(tmp_path / "weights.npz", first=np.zeros((2, 3), np.float32))
    source = tmp_path / "example.c"
    text = example_of(header).replace("return report(&error)", "return 3")
    source.write_text(
        "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <viva/viva.h>\n"
        f"{TENSORS}int main(void) {{\n(void)made;\nviva_engine *engine = NULL;\nviva_error error = {{0}};\n"
        f"if (viva_engine_open(NULL, &engine, &error)) return 1;\n{before}\n{text}\nreturn {after} ? 0 : 4;\n}}\n",
        encoding="utf-8")
    library, program = Path(os.environ["VIVA_LIBRARY"]), tmp_path / "example"
    subprocess.run(["cc", "-std=c11", f"-I{ROOT}/include", source, "-o", program, library, f"-Wl,-rpath,{library.parent}"],
                   check=True)
    shown = subprocess.run([program], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    comment = (ROOT / f"include/viva/{header}.h").read_text(encoding="utf-8").split("*/")[0]
    output = [line[5:] for line in comment.splitlines() if line.startswith((" *   [[", " *    ["))]
    assert shown.stdout.strip() == "\n".join(output)
