"""Where rules are easily wrong, against NumPy: tensors without elements and without axes, every axis from -4 to 3 (both refuse, or
give the same), limits of integers, NaN and infinities in pairs."""

import ctypes as c
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from tensor_cases import alike, same
from viva_tensor import BF16, DTYPES, E2M1, E4M3, E5M2, E8M0, VivaError, axes, engine, lib, names, new, open_engine, tensor as tensor_of

pytestmark = pytest.mark.filterwarnings("ignore")
open_engine()
lib.viva_along_name.restype = c.c_char_p
UNARY, BINARY, REDUCTIONS, ALONG = (names(f"viva_{k}_name") for k in ("unary", "binary", "reduction", "along"))
TYPES = [np.dtype(t) for t in (np.int8, np.int32, np.int64, np.uint8, np.uint64, np.float32, np.float64, np.float16, bool)]
SHAPES = [(0, ), (3, ), (0, 3), (3, 0), (2, 3, 4), (1, 1)]
WHOLE = [op for op in REDUCTIONS if op not in ("norm", "mean", "var", "std")]


def sizes(*values):
    return (c.c_uint64 * max(1, len(values)))(*values)


def listed(t):
    return (c.c_void_p * 2)(t._as_parameter_.value, t._as_parameter_.value), 2


CLOSE = {"rtol": 2.0**-52}


def agree(what, numpy_call, viva_call, rtol=0, equal=same):
    try:
        expected = np.asarray(numpy_call())
    except (ValueError, IndexError, TypeError, np.exceptions.AxisError):
        with pytest.raises(VivaError):
            viva_call()
        return
    found = viva_call().numpy()
    if rtol:
        np.testing.assert_allclose(found, expected, rtol=rtol)
        return
    assert equal(found, np.ascontiguousarray(expected).reshape(expected.shape)), f"{what}: {expected} {found}"


def i64(*values):
    return [c.c_int64(v) for v in values]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_axes(dtype, shape):
    n = int(np.prod(shape))
    a = (np.arange(n) % (2 if dtype == bool else 120)).reshape(shape).astype(dtype)
    t, some, none = tensor_of(a), np.array([0, -1]), np.zeros(0, np.int64)
    for ax in range(-4, 4):
        one = axes((ax, )), 1
        agree("roll", lambda: np.roll(a, -10**9 + 7, ax), lambda: new("roll", t, c.c_int64(-10**9 + 7), ax))
        agree("repeat", lambda: np.repeat(a, 0, ax), lambda: new("repeat", t, c.c_uint64(0), ax))
        for op in ("cumsum", "cumprod", "sort"):
            agree(op, lambda: getattr(np, op)(a, ax), lambda: new("along", ALONG.index(op), t, ax))
        agree("argsort", lambda: np.argsort(a, ax, kind="stable"), lambda: new("along", ALONG.index("argsort"), t, ax))
        agree("flip", lambda: np.flip(a, ax), lambda: new("flip", t, *one))
        agree("expand_dims", lambda: np.expand_dims(a, ax), lambda: new("expand_dims", t, ax))
        agree("squeeze", lambda: np.squeeze(a, ax), lambda: new("squeeze", t, *one))
        agree("stack", lambda: np.stack([a, a], ax), lambda: new("stack", *listed(t), ax))
        agree("concatenate", lambda: np.concatenate([a, a], ax), lambda: new("concatenate", *listed(t), ax))
        for places in (some, none):
            agree("take", lambda: np.take(a, places, ax), lambda: new("take", t, tensor_of(places), ax))
        for op in WHOLE:
            agree(op, lambda: getattr(np, op)(a, axis=ax), lambda: new("reduce", REDUCTIONS.index(op), t, *one, 0))
    for cut in ((0, 100, 3), (100, -100, -2), (-1, 0, -1), (5, 2, 1)):
        agree(f"slice {cut}", lambda: a[slice(*cut)], lambda: new("slice_step", t, 0, *i64(*cut)))


@pytest.mark.parametrize("shape", [(), *SHAPES])
@pytest.mark.parametrize("dtype", TYPES)
def test_wholes(dtype, shape):
    n = int(np.prod(shape))
    a = (np.arange(n) % (2 if dtype == bool else 120)).reshape(shape).astype(dtype)
    t, rank = tensor_of(a), len(shape)
    agree("argwhere", lambda: np.argwhere(a), lambda: new("nonzero", t))
    agree("flatten", lambda: a.reshape(-1), lambda: new("flatten", t))
    agree("transpose", lambda: a.T, lambda: new("permute", t, None))
    agree("matmul", lambda: a @ a, lambda: new("matmul", t, t))
    agree("tile", lambda: np.tile(a, (0, ) * rank), lambda: new("tile", t, sizes(*(0, ) * rank)))
    if rank:
        agree("pad", lambda: np.pad(a, [(1, 2)] * rank, constant_values=1),
              lambda: new("pad", t, sizes(*(1, ) * rank), sizes(*(2, ) * rank), c.c_double(1)))
    if dtype != bool:
        agree("clip", lambda: np.clip(a, 1, 2), lambda: new("clip", t, c.c_double(1), c.c_double(2)))
    for k in (-5, -1, 0, 1, 5) if rank in (1, 2) else ():
        agree(f"diag {k}", lambda: np.diag(a, k), lambda: new("diag", t, *i64(k)))


@pytest.mark.parametrize("dtype", [t for t in TYPES if t.kind in "iu"])
def test_limits_of_integers(dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x, y = np.meshgrid(np.array([low, high, 0, 1, 2, 3], dtype), np.array([0, 2, 3, high, low or 1, 7 if low == 0 else -1], dtype))
    for op in BINARY:
        if op != "power":
            agree(op, lambda: getattr(np, op)(x, y), lambda: new("binary", BINARY.index(op), tensor_of(x), tensor_of(y)))
    three = np.array(3, dtype)
    agree("power", lambda: x**three, lambda: new("binary", BINARY.index("power"), tensor_of(x), tensor_of(three)))
    agree("power by a number", lambda: x**3, lambda: new("binary_scalar", BINARY.index("power"), tensor_of(x), c.c_double(3)))
    for op in ("negative", "absolute", "sign", "square"):
        agree(op, lambda: getattr(np, op)(x), lambda: new("unary", UNARY.index(op), tensor_of(x)))


@pytest.mark.parametrize("dtype", [t for t in TYPES if t.kind == "f"])
def test_special_values_in_pairs(dtype):
    x, y = np.meshgrid(*[np.array([0., -0., 1, -1, np.inf, -np.inf, np.nan, 2.5, -2.5], dtype)] * 2)
    for op in BINARY:
        close = CLOSE if op == "power" and dtype == np.float64 else {}  # NumPy's own differs by an ulp between processors
        first = op in ("maximum", "minimum")  # of -0 and 0
        agree(op, lambda: np.where(x == y, x, getattr(np, op)(x, y)) if first else getattr(np, op)(x, y),
              lambda: new("binary", BINARY.index(op), tensor_of(x), tensor_of(y)), **close)
    agree("median", lambda: np.median(y, 1), lambda: new("median", tensor_of(y), 1, 0), equal=alike)  # of -0 alone: -0


@pytest.mark.parametrize("n", [1, 2, 7, 16, 33, 600, 5000])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, BF16])
def test_minus_zero(dtype, n):
    """What becomes of -0: few elements, whole vectors and what is left over; the first of a row, and all of it."""
    a = np.full((2, n), -0.0).astype(dtype)
    a[1, n // 2:] = 0
    t = tensor_of(a)
    for op in ("silu", "gelu", "tanh", "sin", "expm1", "log1p", "sqrt", "negative", "floor", "rint"):
        expected = -a if op == "negative" else a
        assert same(new("unary", UNARY.index(op), t).numpy(), expected), op
    for op in ("cumsum", "cumprod"):
        agree(op, lambda: getattr(np, op)(a.astype(np.float64), 1).astype(dtype), lambda: new("along", ALONG.index(op), t, 1))
    for op, axis in itertools.product(("sum", "prod", "mean"), (0, 1)):
        agree(op, lambda: getattr(np, op)(a.astype(np.float64), axis=axis).astype(dtype),
              lambda: new("reduce", REDUCTIONS.index(op), t, axes((axis, )), 1, 0))


@pytest.mark.parametrize("dtype", TYPES[:-1])
def test_ranges(dtype):
    low = 1.0 if dtype.kind == "u" else -3.0
    made = engine, DTYPES[dtype]
    for n in (0, 1, 2, 7):
        agree(f"linspace {n}", lambda: np.linspace(low, 8.5, n, dtype=dtype),
              lambda: new("linspace", *made, c.c_double(low), c.c_double(8.5), c.c_uint64(n)))
    inf = math.inf
    for given in ((0, 5, 1), (0, 0, 1), (0, 5, -1), (1, 6, 2), (5, 0, -2), (2, 5, inf), (2, 5, -inf), (5, 2, -inf), (2, 2, inf)):
        if dtype.kind == "f" or inf not in map(abs, given) and (dtype.kind != "u" or given[2] > 0):
            agree(f"arange {given}", lambda: np.arange(*given, dtype=dtype),
                  lambda: new("arange", *made, *map(c.c_double, given)))


def of(*shape):
    return tensor_of(np.zeros(shape))


def list_of(*shapes):
    tensors = [of(*shape) for shape in shapes]
    return (c.c_void_p * len(tensors))(*[t._as_parameter_.value for t in tensors]), len(tensors)


def reduced(op, shape, *places):
    return new("reduce", REDUCTIONS.index(op), of(*shape), axes(places) if places else None, len(places), 0)


def pool(shape, **given):
    return new("pool2d", 0, of(*shape), c.byref(Window(c.sizeof(Window), **given)) if given else None)


def conv(shape, kernels, groups=1, dilation=(1, 1)):
    options = Window(c.sizeof(Window), stride=(1, 1), dilation=dilation, groups=groups)
    return new("conv2d", of(*shape), of(*kernels), None, c.byref(options))


class Window(c.Structure):
    _fields_ = [("size", c.c_size_t), ("kernel", c.c_uint64 * 2), ("stride", c.c_uint64 * 2), ("padding", c.c_uint64 * 2),
                ("dilation", c.c_uint64 * 2), ("groups", c.c_uint64)]


MESSAGES = [
    (lambda: reduced("max", (0, 3), 0), "max of nothing has no value: axis 0 of the tensor [0, 3] is empty"),
    (lambda: reduced("mean", (2, 3, 0), 0, 2), "mean of nothing has no value: axis 2 of the tensor [2, 3, 0] is empty"),
    (lambda: reduced("argmin", (0, )), "argmin of nothing has no value: axis 0 of the tensor [0] is empty"),
    (lambda: new("percentile", of(3, 0), c.c_double(50), 1, 0), "percentile of nothing has no value: axis 1 of the tensor [3, 0] is empty"),
    (lambda: new("median", of(3, 0), -2**31, 0), "median of nothing has no value: axis 1 of the tensor [3, 0] is empty"),
    (lambda: new("norm", of(2, 0), c.c_double(math.inf), axes((1, )), 1, 0), "norm of nothing has no value: axis 1 of the tensor [2, 0] is empty"),
    (lambda: new("norm", of(2, 3), c.c_double(1), axes((1, 1)), 2, 0), "norm: axis 1 of the tensor [2, 3] is named twice"),
    (lambda: new("matrix_norm", of(2, 0, 3), c.c_double(math.inf), 0), "matrix_norm of nothing has no value: axis 1 of the tensor [2, 0, 3] is empty"),
    (lambda: new("matrix_norm", of(3, 0), c.c_double(-1), 0), "matrix_norm of nothing has no value: axis 1 of the tensor [3, 0] is empty"),
    (lambda: new("concatenate", *list_of((2, 3), (2, 4)), 0), "concatenate: tensors [2, 3] and [2, 4] cannot be joined along axis 0; expected the same sizes beside it"),
    (lambda: new("concatenate", *list_of((2, 3), (2, )), -1), "concatenate: tensors [2, 3] and [2] cannot be joined along axis 1"),
    (lambda: new("stack", *list_of((2, 3), (2, 4)), -1), "stack: tensors [2, 3] and [2, 4] cannot be joined along axis 2; expected one shape"),
    (lambda: new("matmul", of(2, 2, 3), of(3, 3, 2)), "matmul: [2, 2, 3] and [3, 3, 2] do not fit: the axes in front of the last two"),
    (lambda: new("clip", of(2, 3), c.c_double(2), c.c_double(1)), "clip of the tensor [2, 3] of F64: low is 2 and high is 1; expected low <= high"),
    (lambda: new("split", of(2, 3), 1, 0), "axis 1 of the tensor [2, 3] cannot be cut into 0 equal parts"),
    (lambda: pool((4, 6), kernel=(2, 3), padding=(1, 2), dilation=(1, 1), groups=1), "max_pool2d: padding of axis -1 of [4, 6] is 2, more than half the kernel of 3"),
    (lambda: pool((1, 1, 0, 5)), "max_pool2d of nothing has no value: axis 2 of the tensor [1, 1, 0, 5] is empty"),
    (lambda: pool((4, 6), kernel=(2, 0), dilation=(1, 1), groups=1), "along axis 1 of [4, 6] they are 0, 0 and 1"),
    (lambda: conv((4, 6), (2, 2), dilation=(0, 1)), "conv2d: kernel, stride and dilation must not be 0; along axis 0 of [4, 6] they are 2, 1 and 0"),
    (lambda: conv((1, 2, 4, 6), (3, 1, 2, 2), groups=2), "conv2d: the outputs of kernels [3, 1, 2, 2] are no multiple of 2 groups"),
]


@pytest.mark.parametrize("refused,text", MESSAGES, ids=[text.split(":")[0] for _, text in MESSAGES])
def test_messages_name_shapes_and_axes(refused, text):
    with pytest.raises(VivaError) as found:
        refused()
    assert text in str(found.value)


def test_norms_of_nothing_that_have_a_value():
    for shape, order, expected in (((3, 0), math.inf, 0.0), ((0, 3), 1, 0.0), ((0, 0, 3), math.inf, np.zeros(0))):
        assert same(new("matrix_norm", of(*shape), c.c_double(order), 0).numpy(), np.asarray(expected))


def test_ranges_without_an_end():
    for given in ((0, 5, 0), (0, math.inf, 1), (0, math.inf, math.inf), (math.nan, 5, 1), (0, 5, math.nan)):
        with pytest.raises(VivaError, match="does not end"):
            new("arange", engine, DTYPES[np.dtype(np.float64)], *map(c.c_double, given))
    assert same(new("arange", engine, DTYPES[np.dtype(np.int32)], *map(c.c_double, (2, 5, math.inf))).numpy(), np.array([2], np.int32))


@pytest.mark.parametrize("name", ["sum", "max", "min", "var", "prod"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int32])
def test_wide_columns(name, dtype):
    """Columns are carried through the rows in strips of 512, some side by side: as if each strip were alone, bit for bit."""
    rng = np.random.default_rng(7)
    a = (rng.normal(size=(11, 9001)) * 3).astype(dtype)
    if np.dtype(dtype).kind == "f":
        a[rng.integers(0, 11, 200), rng.integers(0, 9001, 200)] = rng.choice([np.nan, np.inf, -0.0], 200)
    op = REDUCTIONS.index(name)
    whole = new("reduce", op, tensor_of(a), axes((0, )), 1, 0).numpy()
    for col in range(0, a.shape[1], 512):
        alone = new("reduce", op, tensor_of(a[:, col:col + 512]), axes((0, )), 1, 0).numpy()
        assert same(whole[col:col + 512], alone)
    if name in ("max", "min"):
        assert same(whole, getattr(np, name)(a, axis=0))


def test_narrow_floats_saturate_or_are_nan():
    """What does not fit E4M3, E5M2, E2M1 and E8M0, from each float type: the largest value, or NaN, as tensor_ops.h says."""
    nan, inf = float("nan"), float("inf")
    values = np.array([nan, -nan, inf, -inf, 1e30, -1e30, 0.0, -0.0, 1.0], np.float32)
    expected = {E4M3: [nan, nan, 448, -448, 448, -448, 0.0, -0.0, 1], E5M2: [nan, nan, 57344, -57344, 57344, -57344, 0.0, -0.0, 1],
                E2M1: [0, 0, 6, -6, 6, -6, 0.0, -0.0, 1],
                E8M0: [nan, nan, 2.0**127, nan, 2.0**100, nan, 2.0**-127, 2.0**-127, 1]}
    for source in (np.float32, np.float64, np.float16, BF16):
        given = values.astype(source)
        for dtype, wanted in expected.items():
            wanted = np.array(wanted, np.float64)
            if dtype == E8M0 and source == np.float16:
                wanted[4] = 2.0**127  # 1e30 is infinity there
            narrow = new("astype", tensor_of(given), DTYPES[dtype])
            back = new("astype", narrow, DTYPES[np.dtype(np.float64)]).numpy()
            np.testing.assert_array_equal(back, wanted, f"{source} to {dtype}")
            zeros = wanted == 0
            assert np.array_equal(np.signbit(back[zeros]), np.signbit(wanted[zeros])) or dtype == E2M1
    codes = new("astype", tensor_of(values[:2]), DTYPES[E4M3]).numpy().view(np.uint8)
    assert codes.tolist() == [0x7f, 0xff]  # a NaN's sign stays


@pytest.mark.parametrize("rows", [64, 1000, 10000])
def test_columns_are_summed_no_worse_than_numpy(rows):
    """Sums of F64 down the columns, of one sign and of both: the worst and the mean error are at most NumPy's, which adds a
    column's elements one after the other. Ours go four rows at a time, so that a sum has a quarter of the roundings."""
    rng = np.random.default_rng(rows)
    for array in (rng.random((rows, 64)), rng.standard_normal((rows, 64)), rng.standard_normal((rows, 64)) * 10.0**rng.integers(-8, 8, (rows, 64))):
        exact = [math.fsum(column) for column in array.T]
        ours = new("reduce", REDUCTIONS.index("sum"), tensor_of(array), axes((0, )), 1, 0).numpy()
        errors = [np.abs(np.array([float(Fraction(v) - Fraction(e)) for v, e in zip(found, exact)])) for found in (ours, np.sum(array, axis=0))]
        assert errors[0].mean() <= errors[1].mean() and errors[0].max() <= errors[1].max(), (rows, errors[0].mean(), errors[1].mean())
