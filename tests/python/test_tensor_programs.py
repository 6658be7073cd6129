"""Random programs of tensor operations, run by viva and by NumPy: every intermediate result is the same, bit for bit.

Values are whole numbers that stay small, so that floats are exact in any order of additions. VIVA_SLOW=1: 20,000 programs.
"""

import ctypes as c
import os

import numpy as np
import pytest

from tensor_cases import alike, same
from viva_tensor import DTYPES, axes, lib, names, new, open_engine, tensor as tensor_of

pytestmark = pytest.mark.filterwarnings("ignore")
open_engine()
lib.viva_along_name.restype = c.c_char_p
UNARY, BINARY, REDUCTIONS, ALONG = (names(f"viva_{k}_name") for k in ("unary", "binary", "reduction", "along"))
TYPES = [np.dtype(t) for t in (np.float64, np.float32, np.int64, np.int32, np.int16, np.int8, np.uint8, bool)]
STEPS = 10
PROGRAMS = 20_000 if os.environ.get("VIVA_SLOW") == "1" else 250


def sizes(values):
    return (c.c_uint64 * max(1, len(values)))(*values)


def axis_of(rng, a):
    return int(rng.integers(-a.ndim, a.ndim))


# Each takes the generator, an array with its tensor and another such pair, and returns (array, tensor), or None where it
# does not apply.


def unary(rng, a, t, *_):
    op = str(rng.choice(["negative", "absolute", "sign", "square", "floor", "rint", "logical_not", "isnan", "relu"]))
    if a.dtype == bool and op in ("negative", "sign", "relu") or op == "rint" and a.dtype.kind not in "f":
        return None
    expected = np.where(a <= 0, a.dtype.type(0), a) if op == "relu" else getattr(np, op)(a)  # of -0 too 0
    return expected, new("unary", UNARY.index(op), t)


def binary(rng, a, t, b, u):
    op = str(
        rng.choice([
            "add", "subtract", "multiply", "maximum", "minimum", "equal", "less", "greater_equal", "logical_and",
            "floor_divide", "remainder"
        ]))
    if a.dtype == bool and b.dtype == bool and op == "subtract":
        return None
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return None
    if np.prod(shape) > 3000 or len(shape) > 6:
        return None
    expected = np.asarray(getattr(np, op)(a, b))
    if op in ("maximum", "minimum"):  # the first of -0 and 0
        expected = np.where(a == b, a.astype(expected.dtype), expected)
    return expected, new("binary", BINARY.index(op), t, u)


def reduction(rng, a, t, *_):
    op = str(rng.choice(["sum", "max", "min", "any", "all", "count_nonzero", "argmax", "argmin"]))
    if a.ndim == 0 or a.size == 0:
        return None
    axis, keep = axis_of(rng, a), bool(rng.integers(2))
    expected = getattr(np, op)(a, axis=axis, keepdims=keep)
    return np.asarray(expected), new("reduce", REDUCTIONS.index(op), t, axes((axis, )), 1, int(keep))


def along(rng, a, t, *_):
    op = str(rng.choice(["cumsum", "sort", "argsort"]))
    if a.ndim == 0:
        return None
    axis = axis_of(rng, a)
    expected = getattr(np, op)(a, axis=axis) if op == "cumsum" else getattr(np, op)(a, axis=axis, kind="stable")
    return expected, new("along", ALONG.index(op), t, axis)


def permute(rng, a, t, *_):
    order = rng.permutation(a.ndim)
    return a.transpose(order), new("permute", t, axes(order))


def flip(rng, a, t, *_):
    if a.ndim == 0:
        return None
    axis = axis_of(rng, a)
    return np.flip(a, axis), new("flip", t, axes((axis, )), 1)


def slice_step(rng, a, t, *_):
    if a.ndim == 0:
        return None
    axis, start, stop = int(rng.integers(a.ndim)), int(rng.integers(-9, 9)), int(rng.integers(-9, 9))
    step = int(rng.choice([-3, -2, -1, 1, 2, 3]))
    index = (slice(None), ) * axis + (slice(start, stop, step), )
    return a[index], new("slice_step", t, axis, c.c_int64(start), c.c_int64(stop), c.c_int64(step))


def reshape(rng, a, t, *_):
    shape = [n for n in a.shape if n != 1][::-1] if rng.integers(2) else [a.size]
    return a.reshape(shape), new("reshape", t, len(shape), sizes(shape))


def expand(rng, a, t, *_):
    if a.ndim >= 5:
        return np.squeeze(a), new("squeeze", t, None, 0)
    axis = int(rng.integers(-a.ndim - 1, a.ndim + 1))
    return np.expand_dims(a, axis), new("expand_dims", t, axis)


def roll(rng, a, t, *_):
    if a.ndim == 0:
        return None
    axis, shift = axis_of(rng, a), int(rng.integers(-20, 20))
    return np.roll(a, shift, axis), new("roll", t, c.c_int64(shift), axis)


def take(rng, a, t, *_):
    if a.size == 0 or a.ndim == 0 or a.size > 2000:
        return None
    axis = axis_of(rng, a)
    i = rng.integers(-a.shape[axis], a.shape[axis], tuple(rng.integers(0, 4, int(rng.integers(0, 3)))))
    if a.ndim + i.ndim > 6 or a.size * max(1, i.size) > 5000:
        return None
    return np.take(a, i, axis), new("take", t, tensor_of(np.asarray(i)), axis)


def gather(rng, a, t, *_):
    if a.size == 0 or a.ndim == 0:
        return None
    axis = axis_of(rng, a)
    i = np.argsort(a, axis=axis, kind="stable")
    return np.take_along_axis(a, i, axis), new("gather", t, tensor_of(i), axis)


def where(rng, a, t, b, u):
    if a.shape != b.shape:
        return None
    return np.where(a > 0, a, b), new("where",
                                      new("binary", BINARY.index("greater"), t, tensor_of(np.zeros((), a.dtype))), t,
                                      u)


def concatenate(rng, a, t, b, u):
    if a.ndim == 0 or a.shape != b.shape or a.size > 1000:
        return None
    axis = axis_of(rng, a)
    handles = (c.c_void_p * 2)(t._as_parameter_.value, u._as_parameter_.value)
    return np.concatenate([a, b], axis), new("concatenate", handles, 2, axis)


def matmul(rng, a, t, b, u):
    if a.ndim == 0 or a.dtype == bool or a.size > 400 or a.size == 0:
        return None
    flat = a.reshape(a.shape[0], -1)
    left = new("reshape", t, 2, sizes(flat.shape))
    return flat @ flat.T, new("matmul", left, new("transpose", left, 0, 1))


def nonzero(rng, a, t, *_):
    return None if a.size > 500 or a.ndim == 0 else (np.argwhere(a), new("nonzero", t))


def astype(rng, a, t, *_):
    to = TYPES[int(rng.integers(len(TYPES)))]
    if a.dtype.kind == "f" and to.kind in "iu" and not np.all((a >= np.iinfo(to).min) & (a <= np.iinfo(to).max)):
        return None  # what does not fit, and NaN, is undefined in NumPy
    return a.astype(to), new("astype", t, DTYPES[to])


OPERATIONS = [
    unary, binary, binary, reduction, along, permute, flip, slice_step, reshape, expand, roll, take, gather, where,
    concatenate, matmul, nonzero, astype
]


def tame(a, t):
    """Large numbers are brought back before a float's sums could round."""
    if a.dtype.kind == "f" and a.size and np.max(
            np.abs(a)) > 1000 or a.dtype.kind in "iu" and a.dtype.itemsize == 8 and a.size and np.any((a > 1000)
                                                                                                      | (a < -1000)):
        seven = np.asarray(7, a.dtype)
        return np.remainder(a, seven), new("binary", BINARY.index("remainder"), t, tensor_of(seven))
    return a, t


def run_program(seed):
    rng = np.random.default_rng(seed)
    values, history = [], []
    for _ in range(3):
        shape = tuple(rng.integers(0 if rng.integers(8) == 0 else 1, 6, int(rng.integers(0, 4))))
        dtype = TYPES[int(rng.integers(len(TYPES)))]
        a = rng.integers(0 if dtype.kind in "ub" else -5, 2 if dtype == bool else 6, shape).astype(dtype)
        values.append((np.asarray(a), new("copy", tensor_of(np.asarray(a)))))  # views outlive what they are of
    steps = 0
    while steps < STEPS:
        i, j = (int(x) for x in rng.integers(0, len(values), 2))
        operation = OPERATIONS[int(rng.integers(len(OPERATIONS)))]
        made = operation(rng, *values[i], *values[j])
        steps += 1
        if made is None:
            continue
        history.append(
            f"{operation.__name__} {values[i][0].dtype}{values[i][0].shape} {values[j][0].dtype}{values[j][0].shape}")
        expected, found = np.asarray(made[0]), made[1]
        equal = alike if operation in (reduction, along) else same  # extremes and sorting: NumPy's zeros have either sign
        result = found.numpy()
        assert equal(result, np.ascontiguousarray(expected).reshape(expected.shape)), f"program {seed}: {history}"
        values[int(rng.integers(len(values)))] = tame(result, found)
    return len(history)


def test_programs():
    done = sum(run_program(seed) for seed in range(PROGRAMS))
    assert done >= 5 * PROGRAMS
