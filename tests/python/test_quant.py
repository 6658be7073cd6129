"""The quantised checkpoints that test_quant.c reads are what their writers write, and what their readers read."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parent.parent
GOLDEN = TESTS / "golden" / "quant"
PACKAGE = sorted(folder.name for folder in GOLDEN.iterdir() if folder.name.startswith("ct_"))


def make(tmp_path):
    """tests/mk/mkquant.py, writing to tmp_path."""
    spec = importlib.util.spec_from_file_location("mkquant", TESTS / "mk" / "mkquant.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.OUT = tmp_path
    return module


def assert_same(made):
    for folder in made.iterdir():
        files = sorted(file.name for file in folder.iterdir())
        assert files == sorted(file.name for file in (GOLDEN / folder.name).iterdir())
        for file in files:
            assert (folder / file).read_bytes() == (GOLDEN / folder.name / file).read_bytes(), f"{folder.name}/{file}"


def test_numpy_writes_the_same_again(tmp_path):
    make(tmp_path).without_package()
    assert len(list(tmp_path.iterdir())) == len(list(GOLDEN.iterdir())) - len(PACKAGE)
    assert_same(tmp_path)


def test_compressed_tensors_writes_the_same_again(tmp_path):
    pytest.importorskip("compressed_tensors", reason="the package that writes these files")
    make(tmp_path).packages()
    assert sorted(folder.name for folder in tmp_path.iterdir()) == PACKAGE
    assert_same(tmp_path)


def expected_values(folder):
    """MODULE -> its values, from expected.txt and expected.bin."""
    values = np.fromfile(folder / "expected.bin", dtype="<f4")
    for line in (folder / "expected.txt").read_text().splitlines():
        name, rows, cols = line.split()
        yield name, values[:int(rows) * int(cols)].reshape(int(rows), int(cols))
        values = values[int(rows) * int(cols):]


@pytest.mark.parametrize("name", PACKAGE)
def test_compressed_tensors_reads_its_files_alike(name):
    """From the committed file and its config.json, as a reader would: not with what the writer had in memory."""
    pytest.importorskip("compressed_tensors", reason="the reference")
    import torch
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from compressed_tensors.utils.match import match_name
    from safetensors.torch import load_file

    config = json.loads((GOLDEN / name / "config.json").read_text())["quantization_config"]
    groups = QuantizationConfig(**config).config_groups.values()
    tensors = load_file(GOLDEN / name / "model.safetensors")
    for module, values in expected_values(GOLDEN / name):
        state = {key.rpartition(".")[2]: value for key, value in tensors.items() if key.rpartition(".")[0] == module}
        weight = state.get("weight")
        if weight is None or weight.dtype == torch.float8_e4m3fn:
            scheme = next(g for g in groups if any(t == "Linear" or match_name(module, t) for t in g.targets))
            weight = BaseCompressor.get_value_from_registry(scheme.format).decompress(state, scheme)["weight"]
        assert np.array_equal(weight.to(torch.float32).numpy().view(np.uint32), values.view(np.uint32)), module
