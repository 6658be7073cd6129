"""The compression engine against NumPy and compressed-tensors: statistics, codes and scales, and the container's layout as
docs/formats.md has it (the reader below knows nothing else)."""

import importlib.util
import json
import os
import struct
import subprocess

import ml_dtypes
import numpy as np
import pytest

UNIT = 64
VALUES = 10**7 if os.environ.get("VIVA_SLOW") else 10**6


def run(program, *words, **options):
    return subprocess.run([program, *map(str, words)], check=True, capture_output=True, timeout=300, **options).stdout


def records(data):
    """(kind, header, payload) of each record."""
    assert data[:8] == b"VIVACMP\n" and struct.unpack_from("<I", data, 8) == (1,)
    at = UNIT
    while at < len(data):
        magic, kind, size = struct.unpack_from("<4sIQ", data, at)
        assert magic == b"VREC"
        yield kind, data[at:at + UNIT], data[at + UNIT:at + UNIT + size]
        at += UNIT + -(-size // UNIT) * UNIT
    assert at == len(data)


def chunks(path):
    """(bits, values, global scale, payload) of each chunk."""
    found = list(records(path.read_bytes()))
    assert [kind for kind, _, _ in found[-2:]] == [3, 4]
    for kind, header, payload in found:
        if kind == 2:
            yield header[28], *struct.unpack_from("<Qf", header, 40), payload


def gaussian(count):
    return np.random.default_rng(1).standard_normal(count).astype(np.float32)


def nvfp4_by_numpy(values):
    """compressed-tensors' formula, each operation in FP32 and in its order: packed codes and E4M3 scales."""
    blocks = values.reshape(-1, 16)
    total = np.float32(1) / np.abs(values).max() * np.float32(2688)
    exact = np.abs(blocks).max(1) / np.float32(6) * total
    scales = np.minimum(exact, np.float32(448)).astype(ml_dtypes.float8_e4m3fn)
    scales = np.where(scales.astype(np.float32) == 0, ml_dtypes.float8_e4m3fn(0.125), scales)
    y = blocks / (scales.astype(np.float32) / total)[:, None]
    bounds = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5], np.float32)
    up, down = np.searchsorted(bounds, np.abs(y), side="right"), np.searchsorted(bounds, np.abs(y), side="left")
    code = np.where(up % 2 == 0, up, down)  # a tie goes to the even code
    code = code.astype(np.uint8) | (y < 0).astype(np.uint8) << 3  # -0 is 0
    code = code.reshape(-1)
    return code[0::2] | code[1::2] << 4, scales.view(np.uint8)


@pytest.fixture(scope="module")
def compressed(program, tmp_path_factory):
    """Gaussian values as NVFP4 by absmax, in one chunk."""
    folder = tmp_path_factory.mktemp("nvfp4")
    values = gaussian(VALUES)
    values.tofile(folder / "x.f32")
    run(program, "compress", folder / "x.f32", "-o", folder / "x.viva", "--search", "absmax", "--segment", VALUES, "-q")
    return values, folder / "x.viva"


def test_nvfp4_bit_for_bit(compressed):
    values, path = compressed
    (bits, count, scale, payload), = chunks(path)
    packed, scales = nvfp4_by_numpy(values)
    assert bits == 4 and count == len(values) and scale == np.abs(values).max()
    payload = np.frombuffer(payload, np.uint8)
    assert np.array_equal(payload[:len(scales)], scales)
    assert np.array_equal(payload[len(scales):], packed)


def test_nvfp4_as_compressed_tensors(compressed):
    """The package itself, where it is installed."""
    if not importlib.util.find_spec("compressed_tensors"):
        pytest.skip("the package compressed-tensors is not installed")
    import torch
    from compressed_tensors.compressors.nvfp4.helpers import quantize_and_pack_fp4
    from compressed_tensors.quantization import QuantizationArgs, QuantizationStrategy, QuantizationType
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
    values, path = compressed
    args = QuantizationArgs(num_bits=4, type=QuantizationType.FLOAT, strategy=QuantizationStrategy.TENSOR_GROUP,
                            symmetric=True, group_size=16, scale_dtype=torch.float8_e4m3fn)
    weight = torch.from_numpy(values).reshape(-1, 1600)
    groups = weight.reshape(weight.shape[0], -1, 16)
    total = generate_gparam(weight.min(), weight.max())
    scales, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), args, total)
    theirs = quantize_and_pack_fp4(weight, scales.float(), total).numpy().reshape(-1)
    (_, _, _, payload), = chunks(path)
    payload = np.frombuffer(payload, np.uint8)
    blocks = len(values) // 16
    assert np.array_equal(payload[:blocks], scales.to(torch.float8_e4m3fn).view(torch.uint8).numpy().reshape(-1))
    assert np.array_equal(payload[blocks:], theirs)


def test_affine_layout(program, tmp_path):
    """Scales, zero points, 5-bit codes: decoded here as docs/formats.md says, equal to what the program gives back."""
    values = gaussian(48 * 1000)
    values.tofile(tmp_path / "x.f32")
    run(program, "compress", tmp_path / "x.f32", "-o", tmp_path / "x.viva", "-q", "--codec", "affine", "--bits", 5, "--block", 24,
        "--segment", 4800)
    run(program, "decompress", tmp_path / "x.viva", "-o", tmp_path / "y.f32")
    expected = np.fromfile(tmp_path / "y.f32", np.float32)
    got = []
    for bits, count, g, payload in chunks(tmp_path / "x.viva"):
        blocks = count // 24
        scales, zeros = np.frombuffer(payload, "<f4", 2 * blocks).reshape(2, blocks, 1)
        codes = np.unpackbits(np.frombuffer(payload, np.uint8, offset=8 * blocks), bitorder="little")
        codes = (codes.reshape(blocks, 24, bits) << np.arange(bits, dtype=np.uint8)).sum(2).astype(np.float32)
        got.append(((codes / scales + zeros) * np.float32(g)).reshape(-1))
    assert len(got) == 10 and np.array_equal(np.concatenate(got), expected)


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_statistics_by_numpy(program, tmp_path, scale):
    values = (np.random.default_rng(2).standard_t(5, 300000) * scale + scale / 3).astype(np.float32).reshape(600, 500)
    np.save(tmp_path / "x.npy", values)
    got = json.loads(run(program, "analyze", tmp_path / "x.npy", "--json"))["tensors"][0]
    x = values.astype(np.float64)
    variance = x.var()
    near = {"mean": x.mean(), "std": x.std(), "min": x.min(), "max": x.max(), "dynamic_range": abs(x.max() / x.min()),
            "sparsity": (np.abs(x) < 0.001).mean(), "relative_sparsity": (np.abs(x) < np.abs(x).max() / 1000).mean(),
            "kurtosis": ((x - x.mean())**4).mean() / variance**2}
    for name, expected in near.items():
        assert got[name] == pytest.approx(expected, rel=1e-12, abs=0), name
    # 1 % of the magnitudes is below it, to one part in 128, in which there are few values
    low = np.quantile(np.abs(x), 0.01)
    assert low * (1 - 1 / 64) <= got["low_magnitude"] <= low * (1 + 1 / 64)
    assert sum(got["histogram"]) == values.size == got["count"]


def test_pipes_hold_little(program, tmp_path):
    """300 MB through both programs: what comes out is right, and memory stays below 64 MiB and the queue."""
    script = ("import os, sys, resource, subprocess\n"
              "p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)\n"
              "piece = os.urandom(1 << 20).replace(b'\\x7f', b'\\x3f').replace(b'\\xff', b'\\xbf')\n"
              "[p.stdin.write(piece) for _ in range(300)]\n"
              "p.stdin.close(); code = p.wait()\n"
              "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n")
    out = subprocess.run(["python3", "-c", script, program, "compress", "-", "-o", "-", "--workers", "2", "--search", "absmax"],
                         check=True, capture_output=True, text=True, timeout=300).stdout
    code, kilobytes = map(int, out.split())
    queue = 6 * (4 << 20) + 4 * (1 << 20)  # 2 · 2 + 2 chunks of 2^20 values, and what they become
    assert code == 0 and kilobytes * 1024 < (64 << 20) + queue


def test_what_cannot_be_written_from_a_pipe_says_so(program):
    """Not that somebody had cancelled it."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run([program, "compress", "-", "-o", "-"], input=bytes(4 << 20), stdout=full, stderr=subprocess.PIPE,
                              timeout=60, check=False)
    assert done.returncode == 4 and done.stderr == b"viva: standard output: cannot write: No space left on device\n", done


@pytest.mark.parametrize("bound", ["report", "fit", "fit-blocks", "raw"])
def test_a_pipe_tells_what_a_file_tells(program, tmp_path, bound):
    """Chunks with errors of their own: the worst counts, as do all raised blocks and raw segments."""
    values = gaussian(100000)
    values[40000:] = np.random.default_rng(3).standard_t(3, 60000)
    values.tofile(tmp_path / "x.f32")
    words = ["--codec", "affine", "--max-error", "1", "--segment", "32000", "--bound", bound, "--json"]
    file = json.loads(run(program, "compress", tmp_path / "x.f32", "-o", tmp_path / "a.viva", *words))["tensors"][0]
    with open(tmp_path / "x.f32", "rb") as source:
        pipe = json.loads(run(program, "compress", "-", "-o", tmp_path / "b.viva", *words, stdin=source))["tensors"][0]
    assert dict(pipe, name="") == file
    assert file["bound_met"] == (bound != "report") and file["error_percent"] > 0
    assert (file["blocks_raised"] > 0) == (bound != "report") and (file["segments_raw"] > 0) == (bound == "raw")


@pytest.mark.parametrize("row", [576, 47, 3 << 19])
def test_row_blocks_of_any_length(program, tmp_path, row):
    """Segments of whole rows, about 2^20 values or as many as are asked for; blocks end at rows."""
    rows = -(-(3 << 20) // row)
    values = gaussian(rows * row).reshape(rows, row)
    np.save(tmp_path / "x.npy", values)
    words = ["compress", tmp_path / "x.npy", "-o", tmp_path / "x.viva", "-q", "--row-blocks"]
    for asked, most in ([], 1 << 20), (["--segment", 1000], 1000):
        run(program, *words, *asked)
        each = max(most // row, 1) * row
        counts = [count for _, count, _, _ in chunks(tmp_path / "x.viva")]
        assert counts == [each] * (values.size // each) + [values.size % each] * (values.size % each > 0)
    run(program, "decompress", tmp_path / "x.viva", "-o", tmp_path / "y.npy")
    back = np.load(tmp_path / "y.npy")
    # half of what lies between E2M1's 4 and 6, of the largest magnitude
    assert back.shape == values.shape and np.abs(back - values).max() <= np.abs(values).max() / 6


def refused(program, code, *words, **options):
    done = subprocess.run([program, "compress", *map(str, words)], capture_output=True, timeout=60, check=False, **options)
    assert done.returncode == code, done
    return done.stderr.decode()


def test_what_is_refused_says_why(program, tmp_path):
    values = gaussian(1000)
    values[700] = np.nan
    values.tofile(tmp_path / "nan.f32")
    np.save(tmp_path / "whole.npy", np.arange(10, dtype=np.int8))
    out = ["-o", tmp_path / "x.viva"]
    advice = "value 700 is NaN; mend the data, or keep such blocks in 32 bits with --keep-nonfinite"
    with open(tmp_path / "nan.f32", "rb") as source:
        assert f"viva: standard input: {advice}" in refused(program, 2, "-", *out, stdin=source)
    assert f"nan.f32: {advice}" in refused(program, 2, tmp_path / "nan.f32", *out)
    said = refused(program, 2, tmp_path / "whole.npy", *out)
    assert "whole.npy: left out: |i1" in said and "whole.npy: there is no tensor of real numbers" in said
    assert "leave out --bits" in refused(program, 1, tmp_path / "nan.f32", *out, "--codec", "adaptive", "--bits", 3)
    said = refused(program, 1, tmp_path / "nan.f32", *out, "--codec", "affine", "--segment", 1000, "--block", 24)
    assert "--segment: expected a multiple of --block" in said
    assert not (tmp_path / "x.viva").exists()
