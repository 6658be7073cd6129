"""What viva quantize writes, viva reads: every format, weights of every size."""

import json
import os
import struct
import subprocess
from pathlib import Path

import pytest

TINY = Path(__file__).resolve().parent.parent / "golden" / "tiny.gguf"
FORMATS = ["f32", "f16", "bf16", "fp8", "fp8-b16", "nvfp4", "int8-24", "int4-24", "int4-24-g32"]
LARGEST = 3.4028234663852886e38
# Denormal, small, on both sides of where NVFP4's own number passes 1 and 0.01, beyond F16, and the largest.
SIZES = [1e-45, 2816.0, 268900.0, LARGEST]
if os.environ.get("VIVA_SLOW"):
    SIZES += [1e-38, 1e-20, 2688.0, 268700.0, 1e20]


@pytest.fixture(scope="module")
def dense(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense") / "model"
    subprocess.run([program, "quantize", TINY, folder, "--format", "f32", "-q"], check=True)
    return folder


def with_weight(dense, folder, value):
    """A copy whose up projection has one weight of this size, and one row of them."""
    folder.mkdir()
    for file in dense.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    data = bytearray((dense / "model.safetensors").read_bytes())
    length = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8:8 + length])["model.layers.1.mlp.up_proj.weight"]
    begin, columns = 8 + length + entry["data_offsets"][0], entry["shape"][1]
    assert entry["dtype"] == "F32"
    data[begin:begin + 4] = struct.pack("<f", -value)
    data[begin + 8 * columns:begin + 12 * columns] = struct.pack("<f", value) * columns
    (folder / "model.safetensors").write_bytes(data)


@pytest.mark.parametrize("value", SIZES)
def test_what_is_written_is_read(program, dense, tmp_path, value):
    with_weight(dense, tmp_path / "in", value)
    for i, rule in enumerate(FORMATS):
        out = tmp_path / f"out{i}"
        written = subprocess.run([program, "quantize", tmp_path / "in", out, "--format", rule, "-q", "--force"], capture_output=True, text=True,
                                 timeout=60)
        if written.returncode != 0:  # refused, by the matrix's name; only what no reader could understand
            assert (rule == "nvfp4" and value > 268800) or (rule in ("f16", "bf16") and value > 65504), written.stderr
            assert "up_proj" in written.stderr and not out.exists()
            continue
        read = subprocess.run([program, "quantize", out, tmp_path / f"read{i}", "--format", "f32", "-q"], capture_output=True, text=True,
                              timeout=60)
        assert read.returncode == 0, (rule, read.stderr)
        run = subprocess.run([program, "generate", "-m", out, "-p", "a", "-n", "1", "-q"], capture_output=True, timeout=60)
        assert run.returncode == 0 or (run.returncode == 2 and b"is not a number" in run.stderr and bytes(out) in run.stderr), run
