"""Random calls of the tensor API with results of some 64 elements, where another code takes over: each beside NumPy, beside the
same call on several operands at once, and beside its _into form, which writes any type, anywhere, also over its operands, and
writes nothing when it refuses. VIVA_SLOW=1: 300,000 calls of each kind of test together."""

import ctypes as c
import os
import random

import numpy as np
import pytest

from viva_tensor import (BF16, COMPUTE, DTYPES, E2M1, E4M3, E5M2, FLOATS, NUMPY, Memory, VivaError, axes, call, lib, names, new,
                         open_engine, tensor as tensor_of)

pytestmark = pytest.mark.filterwarnings("ignore")
open_engine()
lib.viva_along_name.restype = c.c_char_p
UNARY, BINARY, REDUCE, ALONG = (names(f"viva_{k}_name") for k in ("unary", "binary", "reduction", "along"))
CASES = 300_000 if os.environ.get("VIVA_SLOW") == "1" else 6_000
AXIS_ALL, AREA, AREAS = -2**31, 32768, 4  # bytes
F32, F16, F64, I64 = (np.dtype(d) for d in (np.float32, np.float16, np.float64, np.int64))
STORAGE = [E4M3, E5M2, E2M1]
INTO_ALONE = ("unary", "binary", "binary_scalar")  # elementwise: rounded once, to out's type


class Window(c.Structure):
    _fields_ = [("size", c.c_size_t), ("kernel", c.c_uint64 * 2), ("stride", c.c_uint64 * 2), ("padding", c.c_uint64 * 2),
                ("dilation", c.c_uint64 * 2), ("groups", c.c_uint64)]


def window(kernel=(0, 0), stride=(1, 1), padding=(0, 0), groups=1):
    return c.byref(Window(c.sizeof(Window), kernel, stride, padding, (1, 1), groups))


def listed(tensors):
    return (c.c_void_p * len(tensors))(*[t._as_parameter_.value for t in tensors]), len(tensors)


def sizes(values):
    return (c.c_uint64 * max(1, len(values)))(*values)


class Arena:
    """Bytes that tensors of all types look at: an area for each operand and one for the result."""

    def __init__(self):
        self.bytes = np.zeros(AREA * AREAS, np.uint8)
        self.memories = {d: Memory(self.bytes.view(d)) for d in [*COMPUTE, *STORAGE]}

    def place(self, dtype, shape, area, rng, distinct):
        """An array of this shape anywhere in an area: in any order of the axes, with gaps, backwards; not distinct: also repeated."""
        order = list(range(len(shape)))
        if rng.random() < 0.4:
            rng.shuffle(order)
        strides, step = [0] * len(shape), rng.choice((1, 1, 1, 2))
        for i in reversed(order):
            strides[i] = step
            step *= max(1, shape[i]) + (rng.random() < 0.1)
        strides = [-s if rng.random() < 0.1 else s for s in strides]
        if not distinct:
            strides = [0 if rng.random() < 0.05 else s for s in strides]
        low = sum((n - 1) * s for n, s in zip(shape, strides) if n > 0 and s < 0)
        high = sum((n - 1) * s for n, s in zip(shape, strides) if n > 0 and s > 0)
        size, room = dtype.itemsize, AREA // dtype.itemsize - (high - low) - 1
        assert room >= 0
        first = area * AREA // size + rng.randrange(min(room, 40) + 1) - low
        return self.view(dtype, shape, first * size, [s * size for s in strides])

    def view(self, dtype, shape, offset, strides):
        return np.ndarray(shape, dtype, self.bytes, offset, strides)

    def tensor(self, array):
        return self.memories[array.dtype].view(array)


def calm(dtype, shape, rng, wide):
    """Sums and products of a few of them are exact in F32; wide: integers fill their type now and then."""
    count = int(np.prod(shape))
    if dtype == bool:
        values = [rng.random() < 0.6 for _ in range(count)]
    elif dtype.kind in "iu" and wide and rng.random() < 0.3:
        info = np.iinfo(dtype)
        values = [rng.randint(info.min, info.max) for _ in range(count)]
    else:
        low = 0 if dtype.kind == "u" else -6
        values = [rng.randint(low, 6) / (1 if dtype.kind in "iu" else 2) for _ in range(count)]
    return np.array(values).astype(dtype).reshape(shape)


def promoted(*dtypes):
    code = DTYPES[dtypes[0]]
    for d in dtypes[1:]:
        code = lib.viva_promote_types(code, DTYPES[d])
    return NUMPY.get(code)


def sum_type(dtype):
    return dtype if dtype in FLOATS else np.dtype(np.uint64) if dtype.kind == "u" else I64


# -- the operations: (name of the call, its arguments, NumPy's result or None, how it is lifted)
# given: dtypes and shapes of the operands; make(tensors) are the arguments. Lifted: the same call with a new first axis.


def products(numpy, arrays):
    """Of exact values: integers modulo 2^n, floats exact."""
    dtype = promoted(*[a.dtype for a in arrays])
    wide = I64 if dtype == bool else dtype if dtype.kind in "iu" else F64
    found = np.asarray(numpy(*[a.astype(dtype).astype(wide) for a in arrays]))
    return found.astype(F32).astype(dtype) if dtype in (F16, BF16) else found.astype(dtype)


class Case:
    """A call: operands' shapes and types, and how arguments are made of their tensors."""

    def __init__(self, name, shapes, dtypes, make, numpy=None, lifted=None, exact=True):
        self.name, self.shapes, self.dtypes, self.make, self.numpy = name, shapes, dtypes, make, numpy
        self.lifted = lifted  # the arguments of the same call on operands with one more axis in front
        self.exact = exact  # floats: whatever the order of additions


def some(rng, *, limit=1):
    return [rng.choice(COMPUTE) if rng.random() < 0.97 else rng.choice(STORAGE) for _ in range(limit)]


def alike(rng, count):
    return some(rng) * count if rng.random() < 0.5 else some(rng, limit=count)


def shape_of(rng, rank=None, most=90):
    rank = rng.choice((1, 1, 2, 2, 3)) if rank is None else rank
    while True:
        shape = tuple(rng.choice((1, 2, 3, 4, 5, 8, 9, 16, 31, 32, 33, 63, 64, 65, 80)) for _ in range(rank))
        if np.prod(shape) <= most:
            return shape


def unary(rng):
    op, shape = rng.randrange(len(UNARY)), shape_of(rng)
    return Case("unary", [shape], some(rng), lambda t: (op, t[0]), lifted=lambda t: (op, t[0]))


def broadcast(rng):
    shape = shape_of(rng)
    other = tuple(1 if rng.random() < 0.2 else n for n in shape)[rng.randrange(len(shape)) if rng.random() < 0.2 else 0:]
    return (shape, other) if rng.random() < 0.5 else (other, shape)


def spread_lift(shapes):
    """Axes of 1 in front, so that a new first axis stays the first."""
    rank = max(map(len, shapes))
    return [(1, ) * (rank - len(s)) + s for s in shapes]


def binary(rng):
    op = rng.randrange(len(BINARY))
    return Case("binary", spread_lift(broadcast(rng)), alike(rng, 2), lambda t: (op, *t), lifted=lambda t: (op, *t))


def binary_scalar(rng):
    op, number = rng.randrange(len(BINARY)), c.c_double(rng.choice((0, 1, 2, 3, 2, 0.5, 1.5)))
    return Case("binary_scalar", [shape_of(rng)], some(rng), lambda t: (op, t[0], number), lifted=lambda t: (op, t[0], number))


def where(rng):
    a, b = spread_lift(broadcast(rng))
    return Case("where", [a, a, b], [rng.choice(COMPUTE), *alike(rng, 2)], lambda t: tuple(t), lifted=lambda t: tuple(t))


def clip(rng):
    low, high = c.c_double(rng.choice((-2.5, 0, 1))), c.c_double(rng.choice((1, 2.5, 200)))
    return Case("clip", [shape_of(rng)], some(rng), lambda t: (t[0], low, high), lifted=lambda t: (t[0], low, high))


def reduce_(rng):
    op, shape = rng.choice(REDUCE), shape_of(rng)
    rank, keep = len(shape), rng.randrange(2)
    gone = None if rng.random() < 0.2 else tuple(sorted(rng.sample(range(rank), rng.randint(1, rank))))
    if op.startswith("arg") and gone is not None and len(gone) not in (1, rank):
        gone = gone[:1]
    index, every = REDUCE.index(op), tuple(range(rank)) if gone is None else gone
    dtypes = some(rng)

    def numpy(a):
        where = every if len(every) < rank else None
        if op in ("sum", "prod"):
            wide = a.astype(F64) if a.dtype in FLOATS else a
            found = getattr(np, op)(wide, axis=where, keepdims=bool(keep))
            small = op == "sum" or np.all(np.abs(np.asarray(found, F64)) < 4)  # products: when they are exact
            return np.asarray(found).astype(sum_type(a.dtype)) if small or a.dtype not in FLOATS else None
        if op in ("max", "min"):
            return np.asarray(getattr(np, op)(a.astype(F32) if a.dtype == BF16 else a, axis=where, keepdims=bool(keep))).astype(a.dtype)
        if op in ("any", "all"):
            return np.asarray(getattr(np, op)(a != 0, axis=where, keepdims=bool(keep)))
        if op == "count_nonzero":
            return np.asarray(np.count_nonzero(a, axis=where, keepdims=bool(keep)), I64)
        if op.startswith("arg"):
            where = where[0] if where else None
            return np.asarray(getattr(np, op)(a.astype(F32) if a.dtype == BF16 else a, axis=where, keepdims=bool(keep)), I64)
        return None

    lifted = tuple(i + 1 for i in every)
    several = op.startswith("arg") and len(lifted) > 1
    return Case("reduce", [shape], dtypes, lambda t: (index, t[0], axes(gone), len(gone or ()), keep), numpy,
                None if several else lambda t: (index, t[0], axes(lifted), len(lifted), keep),
                exact=op not in ("prod", "var", "std", "norm"))


def along(rng):
    op, shape = rng.choice(ALONG), shape_of(rng)
    axis = rng.randrange(len(shape))
    if "hadamard" in op:
        shape = tuple(8 if i == axis else min(n, 9) for i, n in enumerate(shape))

    def numpy(a):
        if op in ("sort", "argsort"):
            b = a.astype(F32) if a.dtype == BF16 else a
            found = getattr(np, op)(b, axis=axis, kind="stable")
            return found.astype(a.dtype) if op == "sort" else found
        if op == "cumsum":
            return np.cumsum(a.astype(F64) if a.dtype in FLOATS else a, axis=axis).astype(sum_type(a.dtype))
        return None

    return Case("along", [shape], some(rng), lambda t: (ALONG.index(op), t[0], axis), numpy,
                lambda t: (ALONG.index(op), t[0], axis + 1))


def matmul(rng):
    m, n = rng.choice(((8, 8), (8, 9), (5, 13), (1, 65), (64, 1), (4, 4), (7, 9), (2, 33)))
    k = rng.choice((1, 2, 3, 7, 9))
    a, b = (m, k), (k, n)
    if rng.random() < 0.15:
        a = (k, )
    elif rng.random() < 0.15:
        b = (k, )
    lifted = len(a) == 2 and len(b) == 2
    return Case("matmul", [a, b], alike(rng, 2), lambda t: tuple(t), lambda *x: products(np.matmul, x),
                (lambda t: tuple(t)) if lifted else None)


def dot(rng):
    k = rng.choice((1, 8, 63, 64, 65, 66, 90))
    return Case("dot", [(k, ), (k, )], alike(rng, 2), lambda t: tuple(t), lambda *x: products(np.dot, x))


def outer(rng):
    m, n = rng.choice(((8, 8), (8, 9), (5, 13), (1, 65), (64, 1), (4, 4), (66, 1)))
    return Case("outer", [(m, ), (n, )], alike(rng, 2), lambda t: tuple(t), lambda *x: products(np.outer, x))


def dense(rng):
    rows, outputs = rng.choice(((8, 8), (8, 9), (5, 13), (1, 65), (64, 1), (4, 4)))
    inputs, relu, biased = rng.choice((1, 2, 5, 9)), rng.randrange(2), rng.random() < 0.6
    shapes = [(rows, inputs), (outputs, inputs), (outputs, )][:3 if biased else 2]

    def arguments(t):
        return (t[0], t[1], t[2] if biased else None, relu)

    def numpy(*x):
        dtype = promoted(*[a.dtype for a in x])
        found = products(lambda p, q, *b: p @ q.T + b[0] if b else p @ q.T, x)
        return np.where(found > 0, found, np.zeros((), dtype)) if relu else found

    return Case("dense", shapes, alike(rng, len(shapes)), arguments, numpy)


SUMS = [("i,i->", 1), ("ij->ji", 1), ("ii->i", 1), ("ii", 1), ("ij->j", 1), ("ij,jk->ik", 1), ("ij,kj->ki", 1), ("ij,ij->ij", 1),
        ("i,j->ij", 1), ("i,j,k->kij", 1), ("ij,jk,kl->il", 1), (",,a->", 1), ("a,ab,b->", 1), ("ij,j->i", 1), ("iij->j", 1),
        ("i,ij,j,ij->ij", 1), ("ij,k->i", 1), (",i->i", 1), ("ij,ij->", 1), ("i,i->i", 1), ("i,,i", 1)]


def einsum(rng):
    text = rng.choice(SUMS)[0]
    size = {letter: rng.choice((1, 2, 3, 4, 5, 8, 9)) for letter in "abijkl"}
    parts = text.split("->")[0].split(",")
    # sizes of 1 are broadcast, but not in a diagonal
    shapes = [tuple(1 if rng.random() < 0.1 else size[letter] for letter in part) for part in parts]
    if rng.random() < 0.9:
        shapes = [tuple(shape[part.index(letter)] for letter in part) for part, shape in zip(parts, shapes)]

    def numpy(*x):
        dtype = promoted(*[a.dtype for a in x])
        if dtype == bool:
            return np.asarray(np.einsum(text, *[a.astype(I64) for a in x])) != 0
        return products(lambda *y: np.einsum(text, *y), x)

    whole = "->" in text
    left, right = text.split("->") if whole else (text, "")
    lifted = ",".join("Z" + part for part in parts) + "->Z" + right
    return Case("einsum", shapes, alike(rng, len(parts)), lambda t: (text.encode(), *listed(t)), numpy,
                (lambda t: (lifted.encode(), *listed(t))) if whole else None)


def norm(rng):
    order, shape = rng.choice((0, 1, 2, 3, np.inf, -np.inf)), shape_of(rng)
    axis = rng.randrange(len(shape))
    return Case("norm", [shape], some(rng), lambda t: (t[0], c.c_double(order), axes((axis, )), 1, 1), None,
                lambda t: (t[0], c.c_double(order), axes((axis + 1, )), 1, 1), exact=order in (0, 1, np.inf, -np.inf))


def matrix_norm(rng):
    order = c.c_double(rng.choice((1, -1, np.inf, -np.inf)))
    return Case("matrix_norm", [shape_of(rng, rng.choice((2, 3)))], some(rng), lambda t: (t[0], order, 1), None,
                lambda t: (t[0], order, 1))


def clip_by_norm(rng):
    longest = c.c_double(rng.choice((0, 2, 1e9)))
    return Case("clip_by_norm", [shape_of(rng)], some(rng), lambda t: (t[0], longest))


def layer_norm(rng):
    shape = shape_of(rng)
    n, biased = shape[-1], rng.random() < 0.5
    shapes = [shape, (n, ), (n, )] if biased else [shape]
    weight = (lambda t: (t[1], t[2])) if biased else (lambda t: (None, None))
    return Case("layer_norm", shapes, alike(rng, len(shapes)), lambda t: (t[0], -1, *weight(t), c.c_double(1e-5)))


def rms_norm(rng):
    return Case("rms_norm", [shape_of(rng)], some(rng), lambda t: (t[0], -1, None, c.c_double(1e-5)), None,
                lambda t: (t[0], -1, None, c.c_double(1e-5)))


def percentile(rng):
    shape, percent = shape_of(rng), c.c_double(rng.choice((0, 30, 50, 100)))
    axis = rng.randrange(len(shape))
    return Case("percentile", [shape], some(rng), lambda t: (t[0], percent, axis, 1), None, lambda t: (t[0], percent, axis + 1, 1))


def conv2d(rng):
    channels, outputs, high, wide = rng.choice(((1, 1, 8, 8), (1, 1, 9, 9), (2, 2, 4, 5), (1, 3, 6, 6), (2, 4, 3, 4)))
    groups, biased = rng.choice((1, channels)), rng.random() < 0.7
    groups = groups if outputs % groups == 0 else 1
    padding = rng.choice(((0, 0), (1, 1)))
    shapes = [(1, channels, high, wide), (outputs, channels // groups, 2, 2), (outputs, )][:3 if biased else 2]

    def arguments(t):
        return (t[0], t[1], t[2] if biased else None, window(padding=padding, groups=groups))

    def numpy(*x):
        def plain(a, k, *b):
            a = np.pad(a, ((0, 0), (0, 0), (padding[0], ) * 2, (padding[1], ) * 2))
            rows, columns, each = a.shape[2] - 1, a.shape[3] - 1, k.shape[1]
            out = np.zeros((1, outputs, rows, columns), a.dtype)
            for o in range(outputs):
                group = o // (outputs // groups)
                for ch in range(each):
                    for i in range(2):
                        for j in range(2):
                            out[0, o] += a[0, group * each + ch, i:i + rows, j:j + columns] * k[o, ch, i, j]
                if b:
                    out[0, o] += b[0][o]
            return out

        return products(plain, x) if promoted(*[a.dtype for a in x]) != bool else None

    return Case("conv2d", shapes, alike(rng, len(shapes)), arguments, numpy)


def pool2d(rng):
    op, shape = rng.randrange(2), (1, rng.choice((1, 2)), rng.choice((4, 5, 8)), rng.choice((4, 8, 9)))
    return Case("pool2d", [shape], some(rng), lambda t: (op, t[0], window(kernel=(2, 2), stride=(1, 1), padding=(1, 0))))


def similarity(rng):
    op, shape = rng.randrange(4), shape_of(rng)
    axis = rng.randrange(len(shape))
    return Case("similarity", [shape, shape], alike(rng, 2), lambda t: (op, *t, axis), None, lambda t: (op, *t, axis + 1),
                exact=op in (0, 3))


def is_close(rng):
    near = c.c_double(0.5), c.c_double(0.25)
    return Case("is_close", spread_lift(broadcast(rng)), alike(rng, 2), lambda t: (*t, *near), None, lambda t: (*t, *near))


def concatenate(rng):
    shape = shape_of(rng, most=45)
    axis = rng.randrange(len(shape))
    numpy = lambda *x: np.concatenate([a.astype(promoted(*[a.dtype for a in x])) for a in x], axis)
    return Case("concatenate", [shape, shape], alike(rng, 2), lambda t: (*listed(t), axis), numpy, lambda t: (*listed(t), axis + 1))


def stack(rng):
    shape = shape_of(rng, most=45)
    axis = rng.randrange(len(shape) + 1)
    numpy = lambda *x: np.stack([a.astype(promoted(*[a.dtype for a in x])) for a in x], axis)
    return Case("stack", [shape, shape], alike(rng, 2), lambda t: (*listed(t), axis), numpy, lambda t: (*listed(t), axis + 1))


def roll(rng):
    shape, shift = shape_of(rng), rng.randint(-70, 70)
    axis = rng.randrange(len(shape))
    return Case("roll", [shape], some(rng), lambda t: (t[0], c.c_int64(shift), axis), lambda a: np.roll(a, shift, axis),
                lambda t: (t[0], c.c_int64(shift), axis + 1))


def pad(rng):
    shape = shape_of(rng, most=60)
    before, after = ([rng.randrange(2) for _ in shape] for _ in range(2))
    numpy = lambda a: np.pad(a, list(zip(before, after)), constant_values=np.ones(1).astype(a.dtype)[0])
    return Case("pad", [shape], some(rng), lambda t: (t[0], sizes(before), sizes(after), c.c_double(1)), numpy)


def tile(rng):
    shape = shape_of(rng, most=33)
    times = [rng.choice((1, 1, 2, 3)) for _ in shape]
    return Case("tile", [shape], some(rng), lambda t: (t[0], sizes(times)), lambda a: np.tile(a, times))


def repeat(rng):
    shape, times = shape_of(rng, most=33), rng.choice((1, 2, 3))
    axis = rng.randrange(len(shape))
    return Case("repeat", [shape], some(rng), lambda t: (t[0], c.c_uint64(times), axis), lambda a: np.repeat(a, times, axis),
                lambda t: (t[0], c.c_uint64(times), axis + 1))


def diag(rng):
    shape, k = rng.choice(((8, 8), (8, 9), (7, ), (9, ), (8, ), (70, 2))), rng.randint(-2, 2)
    return Case("diag", [shape], some(rng), lambda t: (t[0], c.c_int64(k)), lambda a: np.diag(a, k))


def take(rng):
    shape, places = shape_of(rng, most=33), shape_of(rng, 1, 33)
    axis = rng.randrange(len(shape))
    chosen = np.array([rng.randrange(-shape[axis], shape[axis]) for _ in range(places[0])], rng.choice((np.int64, np.int32, np.int16)))
    index = tensor_of(chosen)
    return Case("take", [shape], some(rng), lambda t: (t[0], index, axis), lambda a: np.take(a, chosen, axis),
                lambda t: (t[0], index, axis + 1))


def gather(rng):
    shape = shape_of(rng)
    axis = rng.randrange(len(shape))
    chosen = np.array([rng.randrange(-shape[axis], shape[axis]) for _ in range(int(np.prod(shape)))]).reshape(shape)
    index, several = tensor_of(chosen), tensor_of(chosen[None])
    return Case("gather", [shape], some(rng), lambda t: (t[0], index, axis), lambda a: np.take_along_axis(a, chosen, axis),
                lambda t: (t[0], several, axis + 1))


def median(rng):
    shape = shape_of(rng)
    axis = rng.randrange(len(shape))
    return Case("median", [shape], some(rng), lambda t: (t[0], axis, 0), None, lambda t: (t[0], axis + 1, 0))


PLUS = c.CFUNCTYPE(c.c_double, c.c_void_p, c.c_uint64, c.c_double)(lambda user, index, x: 1.5 * x + 1)
SUM = c.CFUNCTYPE(c.c_double, c.c_void_p, c.c_uint64, c.c_double, c.c_double)(lambda user, index, x, y: x + y)


def map_(rng):
    return Case("map", [shape_of(rng)], some(rng), lambda t: (t[0], PLUS, None), None, lambda t: (t[0], PLUS, None))


def map2(rng):
    return Case("map2", spread_lift(broadcast(rng)), alike(rng, 2), lambda t: (*t, SUM, None), None, lambda t: (*t, SUM, None))


KINDS = [median, map_, map2, unary, binary, binary_scalar, where, clip, reduce_, along, matmul, dot, outer, dense, einsum, norm, matrix_norm, clip_by_norm,
         layer_norm, rms_norm, percentile, conv2d, pool2d, similarity, is_close, concatenate, stack, roll, pad, tile, repeat, diag, take,
         gather]


# -- comparisons


def equal(a, b):
    """The same types, shapes and values; NaN is NaN, and −0 is 0."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.tobytes() == b.tobytes() or bool(np.all((a == b) | ((a != a) & (b != b))))


def near(a, b):
    """Within 8 units of the last place of the largest: sums in other orders, which may cancel."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    x, y = a.astype(F64), b.astype(F64)
    eps = 2.0**-(7 if a.dtype == BF16 else np.finfo(a.dtype).nmant) if a.dtype in FLOATS else 0
    largest = np.max(np.abs(x), initial=0, where=np.isfinite(x))
    return bool(np.all((np.abs(x - y) <= 8 * eps * largest) | (x == y) | ((x != x) & (y != y))))


def attempt(function, *arguments):
    try:
        return new(function, *arguments)
    except VivaError:
        return None


def computed(case, arguments, tensors, fresh, target):
    """What the _into form writes: the result, converted; of elementwise calls, whatever they compute in, converted."""
    code = DTYPES[target]
    result = NUMPY[Info.dtype(fresh)]
    if case.name in INTO_ALONE and result in (F16, BF16):
        wide = [new("astype", t, DTYPES[F32]) for t in tensors]
        fresh = new(case.name, *case.make(wide))
    return new("astype", fresh, code).numpy()


class Info:
    """Types of tensors."""

    @staticmethod
    def dtype(t):
        from viva_tensor import Desc
        d = Desc(c.sizeof(Desc))
        call("info", t, c.byref(d))
        return d.dtype


def write(arena, case, tensors, fresh, rng, message):
    """The _into form: any type, anywhere, also over operands."""
    expected_shape = fresh.numpy().shape if fresh else (2, 3)
    # operations whose result is another number of a wider type are of interest with types that hold it
    target = rng.choice([NUMPY[Info.dtype(fresh)] if fresh else F32, rng.choice(COMPUTE), F32, I64, rng.choice(STORAGE)])
    wrong = not fresh or rng.random() < 0.05
    shape = expected_shape if not wrong or rng.random() < 0.5 else (*expected_shape, 2)
    area = rng.randrange(AREAS)  # one of an operand, or of none
    out = arena.place(target, shape, area, rng, True)
    if wrong and shape == expected_shape and fresh:
        if not any(n > 1 for n in shape):
            return
        strides = [0 if n > 1 else s for n, s in zip(shape, out.strides)]
        out = arena.view(target, shape, out.__array_interface__["data"][0] - arena.bytes.__array_interface__["data"][0], strides)
    place = arena.tensor(out)
    arguments = case.make(tensors)
    converted = None if wrong else computed(case, arguments, tensors, fresh, target)
    before = arena.bytes.copy()
    try:
        call(case.name + "_into", *arguments, place)
        assert not wrong, f"{message}: into {target} {shape} was not refused"
    except VivaError as error:
        assert wrong, f"{message}: into {target} {shape}: {error}"
        assert np.array_equal(before, arena.bytes), f"{message}: {error}: something was written"
        return
    written = np.array(out)
    assert equal(written, converted), f"{message}: into {target} {shape}: {written.tolist()}, not {converted.tolist()}"
    out[...] = 0
    after = arena.bytes.copy()
    arena.bytes[...] = before
    out[...] = 0
    assert np.array_equal(after, arena.bytes), f"{message}: into {target} {shape}: bytes beside the result were written"
    arena.bytes[...] = before


def lift(case, arrays, fresh, message, rng):
    """The same call on several at once: each part of its result is the result."""
    single = fresh.numpy()
    times = 130 // max(1, min(a.size for a in arrays)) + 2
    if times * max(a.size for a in arrays) > 20000:
        times = 3
    several = [tensor_of(np.stack([a] * times)) for a in arrays]
    many = new(case.name, *case.lifted(several)).numpy()
    counted = all(d in FLOATS for d in case.dtypes)  # sums of integers as floats may round
    same = equal if case.exact and counted or single.dtype not in FLOATS else near
    for part in (many[0], many[rng.randrange(times)], many[-1]):
        assert same(part, single), f"{message}: one of {times}: {part.tolist()}, not {single.tolist()}"


@pytest.mark.parametrize("kind", KINDS, ids=[k.__name__ for k in KINDS])
def test_sizes(kind):
    rng, arena = random.Random(kind.__name__), Arena()
    for number in range(CASES // len(KINDS)):
        case = kind(rng)
        arrays, wide = [], len(set(case.dtypes)) == 1 or promoted(*case.dtypes) not in FLOATS
        for i, (shape, dtype) in enumerate(zip(case.shapes, case.dtypes)):
            array = arena.place(dtype, shape, i % AREAS, rng, False)
            array[...] = calm(dtype, shape, rng, wide)
            arrays.append(array)
        tensors = [arena.tensor(a) for a in arrays]
        message = f"{case.name} {number} {[str(d) for d in case.dtypes]} {case.shapes} {[a.strides for a in arrays]}"
        copies = [np.array(a) for a in arrays]
        fresh = attempt(case.name, *case.make(tensors))
        refused = None
        if case.numpy and all(d in COMPUTE for d in case.dtypes):
            try:
                expected = case.numpy(*copies)
            except ValueError as error:
                refused, expected = error, None
                assert fresh is None, f"{message}: NumPy refuses: {error}"
            if expected is not None and fresh is None and case.name != "dense":
                pytest.fail(f"{message}: refused, but by NumPy {expected.tolist()}")
            if expected is not None and fresh is not None:
                found = fresh.numpy()
                assert equal(found, np.asarray(expected)), f"{message}: {found.tolist()}, not {expected.tolist()}"
        if fresh is not None and case.lifted and refused is None:
            lift(case, copies, fresh, message, rng)
        write(arena, case, tensors, fresh, rng, message)
