"""Products, work along an axis, images and distances against NumPy, over types, shapes and strides."""

import ctypes as c
import itertools

import numpy as np
import pytest

from tensor_cases import POOL, SEEDS, SHAPES, Pool, alike, same
from viva_tensor import (BF16, COMPUTE, DTYPES, FLOATS, NUMPY, VivaError, lib, names, new, open_engine, Tensor, tensor
                         as tensor_of)

pytestmark = pytest.mark.filterwarnings("ignore")
open_engine()
lib.viva_along_name.restype = c.c_char_p
ALONG = names("viva_along_name")
AXIS_ALL = -2**31
rng = np.random.default_rng(5)


def calm_values(dtype, generator):
    """Without infinities, NaN and what overflows when it is multiplied."""
    if dtype == bool:
        return generator.integers(0, 2, POOL).astype(bool)
    if dtype.kind in "iu":
        return generator.integers(0 if dtype.kind == "u" else -9, 10, POOL).astype(dtype)
    return (np.round(generator.normal(0, 2, POOL) * 16) / 16).astype(dtype)


@pytest.fixture(scope="module", params=SEEDS)
def pool(request):
    return Pool(request.param, make=calm_values)


@pytest.fixture(scope="module", params=SEEDS)
def wild(request):
    return Pool(10 + request.param)


def eps_of(dtype):
    return np.longdouble(2)**-(7 if dtype == BF16 else np.finfo(dtype).nmant)


def promoted(*dtypes):
    code = DTYPES[dtypes[0]]
    for d in dtypes[1:]:
        code = lib.viva_promote_types(code, DTYPES[d])
    return NUMPY[code]


def wide(array):
    """Extended precision; integers as Python has them, exactly."""
    return array.astype(
        np.longdouble) if array.dtype in FLOATS else array.astype(np.int64 if array.dtype != np.uint64 else np.uint64)


def check_product(result, function, operands, message):
    """Integers exactly; floats within 2 units of the sum of magnitudes for each 8 terms of NumPy's own kind of sum."""
    dtype = promoted(*[a.dtype for a in operands])
    assert result.dtype == dtype, message
    if dtype.kind in "iu":
        expected = function(*[a.astype(dtype) for a in operands])
        assert same(result, np.asarray(expected).astype(dtype)), message
        return
    if dtype == bool:
        expected = function(*[a.astype(np.int64) for a in operands]) != 0
        assert same(result, np.asarray(expected)), message
        return
    exact = np.asarray(function(*[wide(a) for a in operands]))
    scale = np.asarray(function(*[np.abs(wide(a)) for a in operands]))
    assert result.shape == exact.shape, (message, result.shape, exact.shape)
    # sums in another order than NumPy's: each of up to n roundings is half a unit of a partial sum
    bound = (2 + np.sqrt(max(a.size
                             for a in operands))) * eps_of(dtype if dtype in
                                                           (np.float32, np.float64) else np.dtype(np.float32)) * scale
    bound += eps_of(dtype) * np.abs(exact) + np.finfo(np.float16).smallest_subnormal * (dtype == np.float16)
    assert np.all(np.abs(result.astype(np.longdouble) - exact) <= bound), f"{message}: {result} {exact}"


MATMULS = [((3, ), (3, )), ((4, 3), (3, )), ((3, ), (3, 5)), ((4, 3), (3, 5)), ((1, 1), (1, 1)), ((17, 33), (33, 9)),
           ((2, 4, 3), (3, 5)), ((2, 1, 4, 3), (3, 3, 2)), ((0, 3), (3, 2)), ((3, 0), (0, 2)), ((2, 3, 4), (2, 4, 1)),
           ((1, 20), (20, 30)), ((30, 20), (20, 1)), ((5, 1, 2, 3), (4, 3, 2))]


def test_matmul(pool):
    turn = 0
    for a_type, b_type in itertools.product(COMPUTE, COMPUTE):
        for a_shape, b_shape in MATMULS if a_type == b_type else MATMULS[turn % 4::4]:
            turn += 1
            a, a_tensor = pool.operand(a_type, a_shape, turn % 4)
            b, b_tensor = pool.operand(b_type, b_shape, turn // 4 % 4)
            result = new("matmul", a_tensor, b_tensor).numpy()
            check_product(result, np.matmul, (a, b), f"matmul {a_type} {b_type} {a_shape} {b_shape} {turn}")


def test_large_matmul():
    for dtype, shape in itertools.product((np.float32, np.float64), ((130, 20, 300), (513, 9, 1030))):
        a, b = rng.normal(size=shape[:2]).astype(dtype), rng.normal(size=shape[1:]).astype(dtype)
        for x, y in ((a, b), (np.asfortranarray(a), b), (a, np.asfortranarray(b))):
            result = new("matmul", tensor_of(x), tensor_of(y)).numpy()
            check_product(result, np.matmul, (a, b), f"matmul {dtype} {shape}")


def test_dot_and_outer(pool):
    for dtype, order in itertools.product(COMPUTE, range(4)):
        a, a_tensor = pool.operand(dtype, (33, ), order)
        b, b_tensor = pool.operand(dtype, (33, ), (order + 1) % 4)
        check_product(new("dot", a_tensor, b_tensor).numpy(), np.dot, (a, b), f"dot {dtype}")
        if dtype != bool:
            check_product(new("outer", a_tensor, b_tensor).numpy(), np.outer, (a, b), f"outer {dtype}")


SUMS = [("i,i->", (4, ), (4, )), ("ij->ji", (3, 4)), ("ii->i", (4, 4)), ("ii", (4, 4)), ("ij->", (3, 4)),
        ("ij->j", (3, 4)), ("ij,jk", (3, 4), (4, 5)), ("ij,jk->ik", (3, 4), (4, 5)), ("ij,kj->ik", (3, 4), (5, 4)),
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("ij,ij->ij", (3, 4), (3, 4)), ("ij,kl->ijkl", (2, 3), (4, 2)),
        ("i,j,k->kij", (2, ), (3, ), (4, )), ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
        ("...ij,...jk->...ik", (2, 3, 4), (4, 2)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)), ("...i->...", (2, 3, 4)),
        ("i...->...i", (2, 3, 4)), ("ij,j->i", (3, 4), (4, )), ("iij->j", (3, 3, 2)),
        ("a,ab,b->", (3, ), (3, 4), (4, )), ("ijk,k->ij", (2, 3, 1), (4, )), ("zAb,Ab->z", (2, 3, 4), (3, 4)),
        ("i,ij,j,ij->ij", (2, ), (2, 3), (3, ), (2, 3)), ("ij,jk->k", (0, 3), (3, 2)),
        (" i j , j -> i ", (3, 4), (4, )), ("...,...", (3, 1), (4, )), ("ik,kj->ij", (3, 1), (1, 5))]


def einsum(text, tensors):
    handles = (c.c_void_p * len(tensors))(*[t._as_parameter_.value for t in tensors])
    return new("einsum", text.encode(), handles, len(tensors))


@pytest.mark.parametrize("text,shapes", [(s[0], s[1:]) for s in SUMS], ids=[s[0] for s in SUMS])
def test_einsum(text, shapes, pool):
    for dtype, order in itertools.product(COMPUTE, range(4)):
        made = [pool.operand(dtype, shape, (order + i) % 4) for i, shape in enumerate(shapes)]
        result = einsum(text, [m[1] for m in made]).numpy()
        if dtype == bool:
            expected = np.einsum(text, *[m[0].astype(np.int64) for m in made]) != 0
            assert same(result, np.asarray(expected)), f"{text} bool"
            continue
        check_product(result, lambda *x: np.einsum(text, *x), [m[0] for m in made], f"einsum {text} {dtype} {order}")


@pytest.mark.parametrize("text,message", [("ij,jk->ikz", "no operand has"), ("ij,jk->iik", "twice"),
                                          ("ij", "more operands"), ("ij,jk,kl", "expected \"->\""),
                                          ("ij,j?", "expected a letter"), ("ijk,jk", "has 3 labels"),
                                          ("ij,ik", "must have the size")])
def test_einsum_refusals(text, message):
    a, b = tensor_of(np.ones((2, 3))), tensor_of(np.ones((3, 4)))
    with pytest.raises(VivaError, match=message):
        einsum(text, [a, b])


@pytest.mark.parametrize("text", ["...j->j", "...,m...->m", "...i,i->", "i...,i->i", "...->", "...,...->"])
@pytest.mark.parametrize("shape", [(3, ), (3, 3), (1, 3)])
def test_einsum_needs_dots_in_the_result(text, shape):
    """Axes under "..." that an explicit result does not name: NumPy refuses them, and so do we; without such axes both answer."""
    array = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    arrays = [array, np.arange(3.0) if ",i" in text else array][:text.count(",") + 1]
    try:
        expected = np.einsum(text, *arrays)
    except ValueError:
        with pytest.raises(VivaError):
            einsum(text, [tensor_of(a) for a in arrays])
    else:
        assert np.array_equal(einsum(text, [tensor_of(a) for a in arrays]).numpy(), expected)


@pytest.mark.parametrize("text,shapes", [("ii->i", [(1, 5)]), ("ii->i", [(5, 1)]), ("ii", [(1, 5)]), ("ii,i->i", [(1, 5), (5, )]),
                                         ("...ii->...i", [(2, 1, 5)]), ("iji->j", [(1, 3, 2)]), ("iii->i", [(5, 1, 5)]),
                                         ("ii,jj->ij", [(2, 2), (5, 1)]), ("ii->i", [(1, 0)])])
def test_einsum_refuses_diagonals_of_unequal_axes(text, shapes):
    """A label of size 1 is broadcast beside another operand, not within one: as NumPy has it."""
    arrays = [np.ones(s) for s in shapes]
    with pytest.raises(ValueError, match="don't match"):
        np.einsum(text, *arrays)
    with pytest.raises(VivaError, match="must have the size"):
        einsum(text, [tensor_of(a) for a in arrays])


@pytest.mark.parametrize("text,shapes", [("ii->i", [(1, 1)]), ("ii,i->i", [(1, 1), (5, )]), ("ii,jj->ij", [(1, 1), (3, 3)])])
def test_einsum_broadcasts_a_diagonal_of_one(text, shapes):
    arrays = [np.full(s, 3.0) for s in shapes]
    assert same(einsum(text, [tensor_of(a) for a in arrays]).numpy(), np.einsum(text, *arrays))


@pytest.mark.parametrize("text", [",,a->", "i,i,i->", "i,j,k->ijk", "i,ij,j->", "ij,j,i->ij", "i,,->i"])
@pytest.mark.parametrize("n", [2, 9])
def test_einsum_promotes_before_it_multiplies(text, n):
    """Integers do not wrap in the type of the first two; F16 is rounded once, at the end."""
    for types in itertools.permutations((np.int8, np.int8, np.int64)):
        arrays = [np.full((n, ) * len(p), 100, t) for p, t in zip(text.split("->")[0].split(","), types)]
        assert same(einsum(text, [tensor_of(a) for a in arrays]).numpy(), np.asarray(np.einsum(text, *arrays)))
    arrays = [np.full((n, ) * len(p), 300, np.float16) for p in text.split("->")[0].split(",")]
    arrays[2] = np.full(arrays[2].shape, 2.0**-10, np.float16)  # 300·300 alone is infinity in F16
    expected = np.asarray(np.einsum(text, *[a.astype(np.float64) for a in arrays])).astype(np.float16)
    assert same(einsum(text, [tensor_of(a) for a in arrays]).numpy(), expected)


# -- along one axis


def softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def log_softmax(x):
    m = x - np.max(x, axis=-1, keepdims=True)
    return m - np.log(np.sum(np.exp(m), axis=-1, keepdims=True))


def normalize(x):
    norm = np.sqrt(np.sum(x * x, axis=-1, keepdims=True))
    return x / np.where(norm <= 1e-4, 1, norm)


def standardize(x):
    std = np.std(x, axis=-1, keepdims=True)
    return np.where(std == 0, 0, (x - np.mean(x, axis=-1, keepdims=True)) / np.where(std == 0, 1, std))


def minmax(x):
    low, high = np.min(x, axis=-1, keepdims=True), np.max(x, axis=-1, keepdims=True)
    return np.where(low == high, 0, (x - low) / np.where(low == high, 1, high - low))


def hadamard(x):
    n = x.shape[-1]
    signs = np.array([[(-1)**(i & j).bit_count() for j in range(n)] for i in range(n)], np.longdouble)
    return x @ signs


SCALINGS = {
    "softmax": softmax,
    "log_softmax": log_softmax,
    "normalize": normalize,
    "standardize": standardize,
    "minmax_scale": minmax,
    "hadamard": hadamard,
    "inverse_hadamard": lambda x: hadamard(x) / x.shape[-1],
    "normalized_hadamard": lambda x: hadamard(x) / np.sqrt(np.longdouble(x.shape[-1]))
}
POWERS = [(1, ), (8, ), (3, 4), (2, 3, 16), (64, )]


def along(op, tensor, axis):
    return new("along", ALONG.index(op), tensor, axis).numpy()


@pytest.mark.parametrize("op", SCALINGS)
def test_scaling(op, pool):
    function = SCALINGS[op]
    for dtype, shape, order in itertools.product(COMPUTE, POWERS if "hadamard" in op else SHAPES, range(4)):
        for axis in range(len(shape)) if len(shape) < 8 else (0, 7):
            a, tensor = pool.operand(dtype, shape, order)
            if "hadamard" in op and shape[axis] & (shape[axis] - 1):
                with pytest.raises(VivaError, match="no power of two"):
                    along(op, tensor, axis)
                continue
            result = along(op, tensor, axis - len(shape))
            message = f"{op} {dtype} {shape} axis {axis} order {order}"
            expected_type = dtype if dtype in FLOATS else np.float64
            assert result.dtype == expected_type and result.shape == shape, message
            if a.size == 0:
                continue
            exact = np.moveaxis(function(np.moveaxis(a.astype(np.longdouble), axis, -1)), -1, axis)
            # differences of elements are rounded as elements are; 4: the roundings of exp, of the sum and of the quotient
            size = np.max(np.abs(a.astype(np.longdouble)), initial=1)
            eps = eps_of(result.dtype)
            near = np.maximum(eps, 0) * (1 if result.dtype in (np.float16, BF16) else 4)
            inner = eps_of(np.dtype(np.float32)) if result.dtype in (np.float16, BF16, np.float32) else eps
            scale = {
                "softmax": np.abs(exact) * size,
                "log_softmax": np.abs(exact) + size
            }.get(op, np.maximum(np.abs(exact), size if "hadamard" in op else 1))
            bound = near * np.abs(exact) + (8 + (shape[axis] if "hadamard" in op else 0)) * inner * scale
            bound += 6e-8 * (result.dtype == np.float16)
            bad = np.abs(result.astype(np.longdouble) - exact) > bound
            assert not np.any(bad), f"{message}: {result[bad][:3]} {exact[bad][:3]}"


@pytest.mark.parametrize("op", ["cumsum", "cumprod"])
def test_running(op, pool):
    for dtype, shape, order in itertools.product(COMPUTE, SHAPES, range(4)):
        for axis in range(len(shape)):
            a, tensor = pool.operand(dtype, shape, order)
            result = along(op, tensor, axis)
            message = f"{op} {dtype} {shape} axis {axis}"
            if dtype not in FLOATS:
                assert same(result, getattr(np, op)(a, axis=axis)), message
                continue
            assert result.dtype == dtype and result.shape == shape
            exact = getattr(np, op)(a.astype(np.longdouble), axis=axis)
            scale = np.cumsum(np.abs(a.astype(np.longdouble)), axis=axis) if op == "cumsum" else np.abs(exact)
            own = np.abs(getattr(np, op)(a, axis=axis).astype(np.longdouble) - exact)  # NumPy's rounds at every step
            ok = np.abs(result.astype(np.longdouble) - exact) <= np.maximum(own, 2 * eps_of(dtype) * scale)
            over = ~np.isfinite(result.astype(np.float64)) & (np.abs(exact) >= float(np.finfo(np.float16).max) *
                                                              (dtype == np.float16))
            assert np.all(ok | over | (np.abs(exact) < 1e-7)), f"{message}: {result} {exact}"


@pytest.mark.parametrize("op", ["sort", "argsort"])
def test_sorting(op, wild):
    for dtype, shape, order in itertools.product(COMPUTE, SHAPES + [(2, 700), (650, 2)], range(4)):
        for axis in range(len(shape)):
            a, tensor = wild.operand(dtype, shape, order)
            result = along(op, tensor, axis)
            b = a.astype(np.float32) if dtype == BF16 else a
            expected = getattr(np, op)(b, axis=axis, kind="stable")
            message = f"{op} {dtype} {shape} axis {axis} order {order}"
            assert alike(result, expected.astype(result.dtype) if dtype == BF16 and op == "sort" else expected), message
            if op == "sort" and dtype in FLOATS:  # -0 before 0, of which NumPy leaves the order
                line = np.moveaxis(result.astype(np.float64), axis, -1)
                left, right = line[..., :-1], line[..., 1:]
                assert not np.any((left == 0) & (right == 0) & ~np.signbit(left) & np.signbit(right)), message


def test_long_sorts():
    for dtype in COMPUTE:
        a = (rng.normal(size=9000) *
             1000).astype(dtype) if dtype in FLOATS else rng.integers(0, 2**63, 9000).astype(dtype)
        b = a.astype(np.float32) if dtype == BF16 else a
        assert same(along("sort", tensor_of(a), 0), np.sort(b).astype(dtype))
        assert same(along("argsort", tensor_of(a), 0), np.argsort(b, kind="stable"))


def test_along_refuses_storage_types():
    from viva_tensor import E4M3
    with pytest.raises(VivaError, match="not defined for"):
        along("sort", new("astype", tensor_of(np.ones(3, np.float32)), DTYPES[E4M3]), 0)


def test_top_k(wild):
    for dtype, shape in itertools.product(COMPUTE, [(7, ), (33, ), (5, 6), (2, 3, 4)]):
        for axis, k in itertools.product(range(len(shape)), (0, 1, 2, 4)):
            a, tensor = wild.operand(dtype, shape, k % 3)
            if k > shape[axis]:
                with pytest.raises(VivaError, match="has fewer"):
                    new("top_k", tensor, c.c_uint64(k), axis, None)
                continue
            values, places = c.c_void_p(), c.c_void_p()
            assert lib.viva_tensor_top_k(tensor, c.c_uint64(k), axis, c.byref(values), c.byref(places), None) == 0
            values, places = Tensor(values).numpy(), Tensor(places).numpy()
            b = np.moveaxis(a, axis, -1)
            key = b.astype(object) if dtype.kind in "iub" else np.where(b != b, np.inf, b.astype(np.float64))
            nan = np.zeros(b.shape, bool) if dtype.kind in "iub" else b != b
            order = np.array([
                sorted(range(b.shape[-1]), key=lambda i: (not nan[row][i], -key[row][i], i))
                for row in np.ndindex(b.shape[:-1])
            ])
            expected = np.moveaxis(order.reshape(b.shape)[..., :k], -1, axis)
            assert same(places, expected.astype(np.int64)), f"top_k {dtype} {shape} {axis} {k}"
            assert same(values, np.take_along_axis(a, expected, axis))


@pytest.mark.parametrize("percent", [0, 50, 61.8, 100])
def test_percentile(percent, pool):
    for dtype, shape in itertools.product(COMPUTE, [(1, ), (7, ), (33, ), (4, 6), (2, 3, 5), (300, )]):
        for axis, keep, order in itertools.product((None, *range(len(shape))), (0, 1), range(4)):
            a, tensor = pool.operand(dtype, shape, order)
            b = a.astype(np.float64) if dtype == bool else a.astype(np.longdouble)
            args = (tensor, AXIS_ALL if axis is None else axis, keep)
            if percent == 50:
                result = new("median", *args).numpy()
            else:
                result = new("percentile", tensor, c.c_double(percent), *args[1:]).numpy()
            exact = np.percentile(b, np.longdouble(percent), axis=axis, keepdims=bool(keep))
            assert result.shape == np.shape(exact) and result.dtype == (dtype if dtype in FLOATS else np.float64)
            spread = np.max(np.abs(b), initial=1)  # the place between two elements is a double
            error = np.abs(result.astype(np.longdouble) - exact)
            assert np.all(error <= eps_of(result.dtype) * np.abs(exact) + 2.0**-48 * spread), (dtype, shape, axis)


def test_percentile_of_nan_and_of_nothing():
    assert np.isnan(new("median", tensor_of(np.array([1.0, np.nan, 2.0])), 0, 0).numpy())
    with pytest.raises(VivaError, match="median of nothing"):
        new("median", tensor_of(np.zeros((0, 3))), 0, 0)
    with pytest.raises(VivaError, match="percent is 101"):
        new("percentile", tensor_of(np.zeros(3)), c.c_double(101), 0, 0)


# -- norms


def test_norms(pool):
    for dtype, shape, order in itertools.product(COMPUTE, [(8, ), (3, 5), (2, 3, 33)], range(4)):
        for axis in range(len(shape)):
            a, tensor = pool.operand(dtype, shape, order)
            w, w_tensor = pool.operand(dtype, (shape[axis], ), order % 2)
            x = np.moveaxis(a.astype(np.longdouble), axis, -1)
            centred = x - np.mean(x, axis=-1, keepdims=True)
            layer = centred / np.sqrt(np.var(x, axis=-1, keepdims=True) + np.longdouble(1e-5)) * w.astype(
                np.longdouble) + w.astype(np.longdouble)
            rms = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.longdouble(1e-6)) * w.astype(np.longdouble)
            found = {
                "layer_norm": (new("layer_norm", tensor, axis, w_tensor, w_tensor, c.c_double(1e-5)).numpy(), layer),
                "rms_norm": (new("rms_norm", tensor, axis, w_tensor, c.c_double(1e-6)).numpy(), rms)
            }
            for name, (result, exact) in found.items():
                exact = np.moveaxis(exact, -1, axis)
                assert result.dtype == (dtype if dtype in FLOATS else np.float64) and result.shape == shape
                inner = eps_of(np.dtype(np.float64) if result.dtype == np.float64 else np.dtype(np.float32))
                # a mean that is no float of the type is rounded: differences lose a unit of the largest element
                size = np.max(np.abs(a.astype(np.longdouble)), initial=1) * np.max(np.abs(w.astype(np.longdouble)),
                                                                                   initial=1) * 4
                bound = eps_of(result.dtype) * np.abs(exact) + 8 * inner * (np.abs(exact) + size * 320)
                assert np.all(np.abs(result.astype(np.longdouble) -
                                     exact) <= bound), f"{name} {dtype} {shape} {axis}: {result} {exact}"


def test_clip_by_norm(pool):
    for dtype in COMPUTE:
        a, tensor = pool.operand(dtype, (3, 4), 2)
        x = a.astype(np.float64)
        norm = np.sqrt(np.sum(x * x))
        for longest in (1.0, 1e6):
            result = new("clip_by_norm", tensor, c.c_double(longest)).numpy()
            expected = x * min(1, longest / norm)
            assert np.allclose(result.astype(np.float64),
                               expected,
                               rtol=4 * float(eps_of(result.dtype)),
                               atol=1e-7 * (dtype == np.float16))


# -- images


class Window(c.Structure):
    _fields_ = [("size", c.c_size_t), ("kernel", c.c_uint64 * 2), ("stride", c.c_uint64 * 2),
                ("padding", c.c_uint64 * 2), ("dilation", c.c_uint64 * 2), ("groups", c.c_uint64)]


def window(kernel=(0, 0), stride=(0, 0), padding=(0, 0), dilation=(1, 1), groups=1):
    pair = c.c_uint64 * 2
    return Window(c.sizeof(Window), pair(*kernel), pair(*stride), pair(*padding), pair(*dilation), groups)


def windows(x, kernel, stride, padding, dilation, fill):
    """[..., rows, columns, kernel rows, kernel columns]"""
    x = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(p, p) for p in padding], constant_values=fill)
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    v = np.lib.stride_tricks.sliding_window_view(x, span, axis=(-2, -1))
    return v[..., ::stride[0], ::stride[1], ::dilation[0], ::dilation[1]]


def conv(x, k, stride, padding, dilation, groups):
    n, channels, outputs = x.shape[0], x.shape[1] // groups, k.shape[0] // groups
    v = windows(x, k.shape[-2:], stride, padding, dilation, 0)
    parts = [
        np.einsum("ncyxij,ocij->noyx", v[:, g * channels:(g + 1) * channels], k[g * outputs:(g + 1) * outputs])
        for g in range(groups)
    ]
    return np.concatenate(parts, axis=1)


CONVS = [((2, 3, 6, 7), (4, 3, 3, 3), {}), ((1, 4, 5, 5), (4, 2, 2, 3), {
    "groups": 2,
    "padding": (1, 2)
}), ((2, 2, 9, 8), (3, 2, 3, 2), {
    "stride": (2, 3),
    "dilation": (2, 1)
}), ((1, 3, 4, 4), (3, 1, 3, 3), {
    "groups": 3,
    "padding": (1, 1)
}), ((1, 1, 1, 1), (1, 1, 1, 1), {}), ((2, 3, 4, 5), (0, 3, 2, 2), {}), ((0, 3, 4, 5), (2, 3, 2, 2), {})]


def test_conv2d(pool):
    for dtype, (a_shape, k_shape, given), order in itertools.product(COMPUTE, CONVS, range(4)):
        a, a_tensor = pool.operand(dtype, a_shape, order)
        k, k_tensor = pool.operand(dtype, k_shape, (order + 1) % 3)
        o = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1} | given
        if dtype == bool:
            with pytest.raises(VivaError, match="not defined for"):
                new("conv2d", a_tensor, k_tensor, None, c.byref(window(**given)))
            continue
        result = new("conv2d", a_tensor, k_tensor, None, c.byref(window(**given))).numpy()
        check_product(result, lambda x, y: conv(x, y, **o), (a, k), f"conv2d {dtype} {a_shape} {k_shape} {given}")


def test_conv2d_of_fewer_axes_and_bias():
    x, k, b = rng.integers(-4, 5, (3, 6, 5)).astype(np.float32), rng.integers(-4, 5, (2, 3, 2, 2)).astype(
        np.float32), np.array([7, -5], np.float32)
    full = conv(x[None], k, (1, 1), (0, 0), (1, 1), 1)
    found = new("conv2d", tensor_of(x), tensor_of(k), tensor_of(b), None).numpy()
    assert same(found, (full[0] + b[:, None, None]).astype(np.float32))
    assert same(new("conv2d", tensor_of(x), tensor_of(k[0]), None, None).numpy(), full[0, 0].astype(np.float32))
    assert same(
        new("conv2d", tensor_of(x[0]), tensor_of(k[0, 0]), None, None).numpy(),
        conv(x[None, :1], k[:1, :1], (1, 1), (0, 0), (1, 1), 1)[0, 0].astype(np.float32))
    with pytest.raises(VivaError, match=r"does not fit axis 1 of \[3, 1, 5\]"):
        new("conv2d", tensor_of(x[:, :1]), tensor_of(k), None, None)
    with pytest.raises(VivaError, match="groups"):
        new("conv2d", tensor_of(x), tensor_of(k), None, c.byref(window(groups=3)))


def test_pooling(wild, pool):
    for dtype, shape, given in itertools.product(COMPUTE, [(5, 6), (3, 5, 4), (2, 3, 6, 7)], [{
            "kernel": (2, 2)
    }, {
            "kernel": (3, 2),
            "stride": (1, 2),
            "padding": (1, 1)
    }, {}, {
            "kernel": (2, 2),
            "dilation": (2, 3)
    }]):
        a, tensor = wild.operand(dtype, shape, 2)
        kernel = given.get("kernel", shape[-2:])
        o = {
            "stride": given.get("stride", kernel),
            "padding": given.get("padding", (0, 0)),
            "dilation": given.get("dilation", (1, 1))
        }
        low = -np.inf if dtype in FLOATS else 0 if dtype.kind in "ub" else np.iinfo(dtype).min
        x = a.astype(np.float64) if dtype in FLOATS else a
        expected = np.max(windows(x, kernel, **o, fill=low), axis=(-2, -1)).astype(dtype)
        assert alike(new("pool2d", 0, tensor, c.byref(window(**given))).numpy(),
                     expected), f"max {dtype} {shape} {given}"
        a, tensor = pool.operand(dtype, shape, 1)
        x = a.astype(np.float64)
        count = np.sum(windows(np.ones(shape), kernel, **o, fill=0), axis=(-2, -1))
        mean = np.sum(windows(x, kernel, **o, fill=0), axis=(-2, -1)) / count
        result = new("pool2d", 1, tensor, c.byref(window(**given))).numpy()
        assert result.dtype == (dtype if dtype in FLOATS else np.float64) and result.shape == mean.shape
        assert np.allclose(result.astype(np.float64), mean, rtol=2 * float(eps_of(result.dtype)), atol=1e-12)


# -- nearness


def test_similarity(pool):
    for dtype, (a_shape, b_shape) in itertools.product(COMPUTE, [((7, ), (7, )), ((3, 5), (5, )),
                                                                 ((2, 1, 4), (3, 4))]):
        a, a_tensor = pool.operand(dtype, a_shape, 2)
        b, b_tensor = pool.operand(dtype, b_shape, 0)
        x, y = np.broadcast_arrays(a.astype(np.float64), b.astype(np.float64))
        for axis in (AXIS_ALL, -1):
            at = None if axis == AXIS_ALL else axis
            dot, norms = np.sum(x * y, axis=at), np.sqrt(np.sum(x * x, axis=at) * np.sum(y * y, axis=at))
            expected = [
                dot,
                np.where(norms == 0, 0, dot / np.where(norms == 0, 1, norms)),
                np.sqrt(np.sum((x - y)**2, axis=at)),
                np.sum(np.abs(x - y), axis=at)
            ]
            for op, value in enumerate(expected):
                result = new("similarity", op, a_tensor, b_tensor, axis).numpy()
                assert result.dtype == (dtype if dtype in FLOATS else np.float64) and result.shape == np.shape(value)
                assert np.allclose(result.astype(np.float64), value, rtol=2 * float(eps_of(result.dtype)),
                                   atol=1e-14), (op, dtype)


def test_is_close(wild):
    for dtype, order in itertools.product(COMPUTE, range(4)):
        a, a_tensor = wild.operand(dtype, (17, 40), order)
        b, b_tensor = wild.operand(dtype, (40, ), 0)
        expected = np.isclose(a.astype(np.float64), b.astype(np.float64), rtol=0.5, atol=0.25)
        assert same(new("is_close", a_tensor, b_tensor, c.c_double(0.5), c.c_double(0.25)).numpy(), expected)
        found = c.c_int32(7)
        assert lib.viva_tensor_all_close(a_tensor, a_tensor, c.c_double(0), c.c_double(0), c.byref(found), None) == 0
        assert found.value == int(not np.any(a != a))


def test_dense(pool):
    for dtype in FLOATS:
        x, x_tensor = pool.operand(dtype, (2, 3, 5), 2)
        w, w_tensor = pool.operand(dtype, (4, 5), 0)
        b, b_tensor = pool.operand(dtype, (4, ), 0)
        exact = np.maximum(x.astype(np.float64) @ w.astype(np.float64).T + b.astype(np.float64), 0)
        result = new("dense", x_tensor, w_tensor, b_tensor, 1).numpy()
        scale = np.abs(x.astype(np.float64)) @ np.abs(w.astype(np.float64)).T + 8
        assert np.all(np.abs(result.astype(np.float64) - exact) <= 2 * float(eps_of(dtype)) * scale)
        out = tensor_of(np.zeros((2, 3, 4), dtype))
        assert lib.viva_tensor_dense_into(x_tensor, w_tensor, b_tensor, 1, out, None) == 0
        assert same(out.numpy(), result)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_dense_of_integers_wraps_before_relu(dtype):
    limits = np.iinfo(dtype)
    for k in (1, 4, 70):  # few elements, and more
        x, w = (rng.integers(limits.min, limits.max, (3, k), dtype, endpoint=True) for _ in range(2))
        for relu in (0, 1):
            expected = x @ w.T
            expected = np.maximum(expected, 0) if relu else expected
            assert np.array_equal(new("dense", tensor_of(x), tensor_of(w), None, relu).numpy(), expected)


@pytest.mark.parametrize("side", [4, 20])
@pytest.mark.parametrize("dtype", [np.uint64, np.int64, np.uint32])
def test_conv_of_integers_adds_the_bias_as_integers(side, dtype):
    """Few results and many: nothing goes through F64."""
    top = np.iinfo(dtype).max
    image, kernels = np.full((1, 1, side, side), 3, dtype), np.ones((2, 1, 1, 1), dtype)
    bias = np.array([top - 5, 1], dtype)
    result = new("conv2d", tensor_of(image), tensor_of(kernels), tensor_of(bias), None).numpy()
    assert same(result, image + bias.reshape(1, 2, 1, 1))
