"""Operands for the comparisons with NumPy: strided views of pools of values, and how near a result must be."""

import itertools
import os

import numpy as np
from numpy.lib.stride_tricks import as_strided

from viva_tensor import BF16, COMPUTE, Memory

POOL = 3000
# With VIVA_SLOW=1 all comparisons are made with more values: more than 50,000 cases of test_tensor_walk alone
SEEDS = (1, 2, 3) if os.environ.get("VIVA_SLOW") == "1" else (1, )
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 3.0, 100.0, -100.0, 1e-3, 65504.0]


def pool_values(dtype, rng):
    """Ordinary values with special ones among them."""
    if dtype == bool:
        return rng.integers(0, 2, POOL).astype(bool)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, POOL, dtype, endpoint=True)
        values[::2] = rng.integers(0, 7, POOL // 2) - (3 if dtype.kind == "i" else 0)
        values[::50], values[1::50] = info.min, info.max
        return values
    values = rng.normal(0, 4, POOL)
    values[::3] = np.round(values[::3] * 2) / 2
    values[rng.integers(0, POOL, POOL // 12)] = rng.choice(SPECIAL, POOL // 12)
    if dtype != np.float16:
        values[rng.integers(0, POOL, 40)] = rng.choice([1e-40, -1e-40, 1e30, -1e30, 1e-30, 88.5, -103.5], 40)
    return values.astype(dtype)


class Pool:
    """One memory for each type."""

    def __init__(self, seed=1, make=pool_values):
        self.rng = np.random.default_rng(seed)
        self.memories = {d: Memory(make(d, self.rng)) for d in COMPUTE}

    def operand(self, dtype, shape, order):
        """A view of this shape: order 0: row-major; 1: column-major; 2: backwards and with gaps; 3: every second axis
        repeated (stride 0)."""
        strides, step = [0] * len(shape), 1 if order < 2 else 2
        axes = range(len(shape)) if order == 1 else reversed(range(len(shape)))
        for i in axes:
            strides[i] = step
            step *= max(1, shape[i])
        if order == 3:
            strides = [0 if i % 2 else s for i, s in enumerate(strides)]
        memory = self.memories[dtype]
        reach = sum((n - 1) * s for n, s in zip(shape, strides) if n > 0)
        first = int(self.rng.integers(0, POOL - reach))
        if order == 2:
            first += sum((n - 1) * s for n, s in zip(shape, strides) if n > 0)
            strides = [-s for s in strides]
        size = dtype.itemsize
        array = as_strided(memory.array[first:], shape, [s * size for s in strides])
        return array, memory.view(array)


SHAPES = [(), (1,), (7,), (33,), (0,), (3, 5), (4, 0, 2), (5, 1, 6), (2, 3, 4, 5), (300,), (17, 40),
          (2, 1, 3, 1, 2, 1, 2, 2)]
# Pairs of shapes that are broadcast
PAIRS = [((), ()), ((7,), ()), ((), (7,)), ((5,), (5,)), ((4, 1), (1, 6)), ((3, 5), (5,)), ((3, 5), (3, 1)),
         ((5,), (3, 5)), ((2, 3, 4), (3, 1)), ((2, 1, 4, 1), (3, 1, 5)), ((0, 3), (1, 3)), ((300,), (300,)),
         ((17, 40), (17, 40)), ((12, 30), (1,))]
ORDERS = list(itertools.product(range(4), range(4)))


def ulps(result, exact, dtype):
    """|result − exact| in units of the last place of exact as dtype; 0 where both are the same infinity or NaN; infinity where
    both are 0, of two signs."""
    info = np.finfo(np.float32) if dtype == BF16 else np.finfo(dtype)
    bits, tiny = (7, 2.0**-133) if dtype == BF16 else (info.nmant, float(info.smallest_subnormal))
    exact = np.asarray(exact, np.longdouble)
    result = np.asarray(result).astype(np.longdouble)
    with np.errstate(all="ignore"):
        _, exponent = np.frexp(exact)
        unit = np.maximum(np.ldexp(np.longdouble(1), exponent - 1 - bits), np.longdouble(tiny))
        distance = np.abs(result - exact) / unit
        limit = np.longdouble(2) ** 128 * (1 - np.longdouble(2) ** -9) if dtype == BF16 else np.longdouble(info.max)
    overflow = np.isinf(result) & (np.abs(exact) >= limit) & ((result > 0) == (exact > 0))
    equal = ((result == exact) & ((exact != 0) | (np.signbit(result) == np.signbit(exact)))) | (np.isnan(result) & np.isnan(exact)) | overflow
    zeros = (result == 0) & (exact == 0)
    return np.where(equal, 0, np.where(np.isnan(distance) | zeros, np.inf, distance))


def same(a, b):
    """Equal in type, shape, values and the sign of zeros; NaN is NaN."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.tobytes() == b.tobytes():
        return True
    signs = [np.signbit(x.astype(np.float64)) for x in (a, b)]
    return bool(np.all(((a == b) & ((a != 0) | (signs[0] == signs[1]))) | ((a != a) & (b != b))))


def alike(a, b):
    """The same, but for the sign of zeros: where docs/tensor.md says that it differs."""
    return same(a + a.dtype.type(0), b + b.dtype.type(0))
