"""The golden files of tests/number say what ml_dtypes and numpy say: by the script that makes them.

The C tests hold the library to those files; this test holds the files to the reference.
"""

import pathlib
import sys

import numpy as np
import pytest

pytest.importorskip("ml_dtypes", reason="the ml_dtypes package is the reference")

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "mk"))
import mkgolden_numbers as mk  # noqa: E402

NEAR = 3  # patterns on each side of a change


def golden_runs(name):
    """First pattern and code of each run of equal codes."""
    lines = (mk.GOLDEN / "number_runs.txt").read_text().splitlines()
    runs = [(int(first, 16), int(code, 16)) for format, first, code in map(str.split, lines) if format == name]
    return np.array(runs, dtype=np.uint64).T


def as_floats(patterns):
    return patterns.astype(np.uint32).view(np.float32)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_hashes_of_decoding_and_encoding():
    golden = dict(line.split(" ", 1) for line in (mk.GOLDEN / "numbers.txt").read_text().splitlines())
    for name, values in mk.numbers().items():
        assert golden[name] == f"{values.size} {mk.mix_sum(values):016x}", name


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", mk.ENCODERS)
def test_runs_of_codes(name):
    """Around each change of the code, and on a sweep."""
    firsts, codes = golden_runs(name)
    assert firsts[0] == 0 and np.all(np.diff(firsts.astype(np.int64)) > 0)
    near = (firsts[1:, None].astype(np.int64) + np.arange(-NEAR, NEAR)).ravel()
    sweep = np.arange(0, 1 << 32, 4099, dtype=np.int64)
    patterns = np.concatenate([near, sweep])
    expected = codes[np.searchsorted(firsts.astype(np.int64), patterns, side="right") - 1]
    assert np.array_equal(mk.ENCODERS[name](as_floats(patterns)), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", mk.ENCODERS)
def test_runs_of_codes_over_all_patterns(name):
    firsts, codes = golden_runs(name)
    assert list(mk.runs(mk.ENCODERS[name])) == list(zip(firsts.tolist(), codes.tolist(), strict=True))
