"""Making tensors and reading single elements beside NumPy; random numbers beside Philox 4x32-10 written out again here."""

import ctypes as c
import math

import numpy as np
import pytest

from tensor_cases import same
from viva_ctypes import VivaError
from viva_tensor import COMPUTE, DTYPES, E4M3, FLOATS, call, engine, lib, new, open_engine, tensor as tensor_of

pytestmark = pytest.mark.filterwarnings("ignore")
open_engine()
SHAPES = [(), (0, ), (5, ), (3, 4), (2, 0, 3), (9, 11, 2)]
UNIFORM, NORMAL = 0, 1
F64 = np.dtype(np.float64)
MASK = np.uint64(0xffffffff)
EPSILON = dict(zip(FLOATS, (2.0**-52, 2.0**-23, 2.0**-10, 2.0**-7)))  # F64, F32, F16, BF16


class RandomOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("distribution", c.c_int), ("reserved", c.c_int32), ("seed", c.c_uint64),
                ("stream", c.c_uint64), ("low", c.c_double), ("high", c.c_double), ("mean", c.c_double), ("deviation", c.c_double)]


lib.viva_random_options_default.restype = RandomOptions


def sizes(shape):
    return (c.c_uint64 * max(1, len(shape)))(*shape)


def random(shape, dtype=F64, **given):
    options = lib.viva_random_options_default()
    for name, value in given.items():
        setattr(options, name, value)
    return new("random", engine, DTYPES[dtype], len(shape), sizes(shape), c.byref(options)).numpy()


def philox(seed, stream, n):
    """n numbers of 64 bits, two for each counter."""
    counter, high = np.arange((n + 1) // 2, dtype=np.uint64), np.uint64(32)
    x = [counter & MASK, counter >> high, np.full_like(counter, stream & 0xffffffff), np.full_like(counter, stream >> 32)]
    key = [seed & 0xffffffff, seed >> 32]
    for _ in range(10):
        a, b = x[0] * np.uint64(0xd2511f53), x[2] * np.uint64(0xcd9e8d57)
        x = [b >> high ^ x[1] ^ np.uint64(key[0]), b & MASK, a >> high ^ x[3] ^ np.uint64(key[1]), a & MASK]
        key = [(key[0] + 0x9e3779b9) & 0xffffffff, (key[1] + 0xbb67ae85) & 0xffffffff]
    return np.stack([x[1] << high | x[0], x[3] << high | x[2]], 1).reshape(-1)[:n]


def units(seed, stream, n):
    return (philox(seed, stream, n) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@pytest.mark.parametrize("dtype", COMPUTE)
@pytest.mark.parametrize("shape", SHAPES)
def test_given_values(dtype, shape):
    value = 1.0 if dtype == bool else 3.0
    code = DTYPES[dtype]
    assert same(new("create", engine, code, len(shape), sizes(shape)).numpy(), np.zeros(shape, dtype))
    assert same(new("full", engine, code, len(shape), sizes(shape), c.c_double(value)).numpy(), np.full(shape, value, dtype))
    like = new("full_like", tensor_of(np.zeros(shape, np.int16)), code, c.c_double(value))
    assert same(like.numpy(), np.full(shape, value, dtype))
    kept = new("full_like", like, 0, c.c_double(0))
    assert same(kept.numpy(), np.zeros(shape, dtype))
    data = np.arange(math.prod(shape)).astype(dtype).reshape(shape)
    raw = np.frombuffer(data.tobytes() + b"\0", np.uint8)
    made = new("from_data", engine, c.c_void_p(raw.ctypes.data), c.c_size_t(data.nbytes), code, len(shape), sizes(shape))
    assert same(made.numpy(), data)
    with pytest.raises(VivaError):
        new("from_data", engine, c.c_void_p(raw.ctypes.data), c.c_size_t(data.nbytes + 1), code, len(shape), sizes(shape))


@pytest.mark.parametrize("dtype", COMPUTE)
def test_eye(dtype):
    for rows, columns, k in ((4, 4, 0), (3, 5, 2), (5, 3, -1), (1, 1, 3), (2, 0, 0)):
        made = new("eye", engine, DTYPES[dtype], c.c_uint64(rows), c.c_uint64(columns), c.c_int64(k)).numpy()
        assert same(made, np.eye(rows, columns, k, dtype=dtype))


@pytest.mark.parametrize("dtype", FLOATS)
def test_logspace(dtype):
    for start, stop, count, base in ((0, 3, 4, 2.0), (-2, 2, 33, 10.0), (1, 1, 1, 3.0), (0, 1, 0, 2.0)):
        ends = c.c_double(start), c.c_double(stop)
        made = new("logspace", engine, DTYPES[dtype], *ends, c.c_uint64(count), c.c_double(base)).numpy()
        wanted = np.logspace(start, stop, count, base=base).astype(dtype)
        assert made.shape == wanted.shape and made.dtype == dtype
        near, wide = np.abs(made.astype(F64) - wanted.astype(F64)), np.abs(wanted.astype(F64))
        assert np.all(near <= 2 * EPSILON[dtype] * wide)  # another power function, then rounded once


@pytest.mark.parametrize("seed, stream", [(0, 0), (7, 0), (2**63 + 5, 2**40 + 3)])
def test_uniform_is_philox(seed, stream):
    for n in (1, 2, 63, 64, 65, 1001, 100_001):
        drawn = random((n, ), distribution=UNIFORM, seed=seed, stream=stream)
        assert np.array_equal(drawn, units(seed, stream, n))
    bounds = random((1001, ), seed=seed, stream=stream, low=-3.0, high=5.0)
    assert np.array_equal(bounds, -3.0 + units(seed, stream, 1001) * 8.0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal_is_box_muller(dtype):
    n = 20_001
    u = units(3, 1, n + 1).reshape(-1, 2)
    radius = np.sqrt(-2 * np.log(1 - u[:, 0]))
    wanted = np.stack([radius * np.cos(2 * np.pi * u[:, 1]), radius * np.sin(2 * np.pi * u[:, 1])], 1).reshape(-1)[:n] * 0.5 + 2
    drawn = random((n, ), dtype, distribution=NORMAL, seed=3, stream=1, mean=2.0, deviation=0.5).astype(np.float64)
    # other logarithms and sines, then rounded once
    assert np.all(np.abs(drawn - wanted) <= 4 * EPSILON[dtype] * np.maximum(np.abs(wanted), 1))
    assert abs(wanted.mean() - 2) < 5 * 0.5 / math.sqrt(n) and abs(wanted.std() - 0.5) < 5 * 0.5 / math.sqrt(2 * n)


def test_elements_do_not_depend_on_the_shape():
    long = random((30_000, ), seed=11, distribution=NORMAL)
    assert np.array_equal(random((100, 7), seed=11, distribution=NORMAL).reshape(-1), long[:700])
    assert not np.array_equal(random((100, ), seed=12, distribution=NORMAL), long[:100])
    assert not np.array_equal(random((100, ), seed=11, stream=1, distribution=NORMAL), long[:100])


def test_random_refuses():
    for given, text in (({"low": math.inf}, "low is inf; expected a finite number"), ({"distribution": 2}, "distribution is 2"),
                        ({"low": 2.0}, "low is 2 and high is 1; expected low <= high"),
                        ({"low": -1e308, "high": 1e308}, "high - low overflows: low is -1e.308 and high is 1e.308"),
                        ({"distribution": NORMAL, "deviation": math.nan}, "deviation is nan; expected a finite number"),
                        ({"distribution": NORMAL, "deviation": -1.0}, "deviation is -1; expected 0 or more"),
                        ({"distribution": NORMAL, "deviation": 1e308}, "the mean 0 and the deviation 1e.308 overflow"),
                        ({"distribution": NORMAL, "mean": 1e308, "deviation": 1e307}, "overflow")):
        with pytest.raises(VivaError, match=text) as refused:
            random((3, ), **given)
        assert refused.value.code == "VIVA_E_ARGUMENT"
        with pytest.raises(VivaError, match=text):
            random((300, ), **given)
    assert same(random((70, ), low=2.0, high=2.0), np.full(70, 2.0))
    assert same(random((70, ), distribution=NORMAL, mean=2.0, deviation=0.0), np.full(70, 2.0))
    assert np.isfinite(random((1001, ), low=-8e307, high=8e307)).all()
    assert np.isfinite(random((1001, ), distribution=NORMAL, deviation=1e307)).all()
    with pytest.raises(VivaError):
        random((3, ), np.dtype(np.int32))


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), F64])
def test_xavier_and_he(dtype):
    inputs, outputs, seed = 300, 200, 5
    weights = new("xavier", engine, DTYPES[dtype], c.c_uint64(inputs), c.c_uint64(outputs), c.c_uint64(seed)).numpy()
    most = math.sqrt(6 / (inputs + outputs))
    assert weights.shape == (outputs, inputs) and weights.dtype == dtype
    assert np.array_equal(weights, random((outputs, inputs), dtype, seed=seed, low=-most, high=most))
    assert 0.999 * most < np.abs(weights).max() <= np.float32(most)
    weights = new("he", engine, DTYPES[dtype], c.c_uint64(inputs), c.c_uint64(outputs), c.c_uint64(seed)).numpy()
    deviation = math.sqrt(2 / inputs)
    assert weights.shape == (outputs, inputs) and weights.dtype == dtype
    assert np.array_equal(weights, random((outputs, inputs), dtype, seed=seed, distribution=NORMAL, deviation=deviation))
    assert abs(weights.std() / deviation - 1) < 5 / math.sqrt(2 * inputs * outputs)


@pytest.mark.parametrize("dtype", COMPUTE + [E4M3])
def test_single_elements(dtype):
    values = (np.arange(24) % 7).reshape(2, 3, 4).astype(dtype)
    whole = tensor_of(values)
    turned = new("transpose", whole, 0, 2)
    number, exact = c.c_double(), c.c_int64()
    for index in ((0, 0, 0), (1, 2, 3), (-1, -3, 2), (1, -1, -4)):
        at = (c.c_int64 * 3)(*index)
        call("get", whole, at, c.byref(number)), call("get_i64", whole, at, c.byref(exact))
        assert number.value == float(values[index]) and exact.value == int(values[index])
        back = (c.c_int64 * 3)(*index[::-1])
        call("get", turned, back, c.byref(number))
        assert number.value == float(values[index])
        call("set", turned, back, c.c_double(1))
        values[index] = 1
        assert same(whole.numpy(), values)
        call("set_i64", whole, at, c.c_int64(0))
        values[index] = 0
        assert same(whole.numpy(), values)
    for index in ((2, 0, 0), (0, -4, 0), (0, 0, 4)):
        with pytest.raises(VivaError, match=r"is outside axis [012] of the tensor \[2, 3, 4\]"):
            call("get", whole, (c.c_int64 * 3)(*index), c.byref(number))


def test_large_integers_are_exact():
    for dtype, value in ((np.int64, 2**62 + 1), (np.int64, -(2**63)), (np.uint64, 2**53 + 1)):
        one = tensor_of(np.zeros((), dtype))
        found = c.c_int64()
        call("set_i64", one, None, c.c_int64(value))
        call("get_i64", one, None, c.byref(found))
        assert found.value == value and one.numpy() == value
