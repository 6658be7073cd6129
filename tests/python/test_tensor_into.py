"""Norms of any order against NumPy; every call of tensor_into.h against the call that makes a new tensor: into strided views,
other types, over its own operands; refused with out as it was."""

import ctypes as c

import numpy as np
import pytest

from tensor_cases import same
from viva_tensor import DTYPES, E4M3, NUMPY, VivaError, axes, call, new, open_engine, tensor as tensor_of

pytestmark = pytest.mark.filterwarnings("ignore")
open_engine()
rng = np.random.default_rng(11)
AXIS_ALL = -2**31
A, B = (rng.normal(size=(6, 6)) for _ in range(2))
NAN = A.copy()
NAN[2, 3] = np.nan


@pytest.mark.parametrize("order", [1, 2, 3, 0.5, -1, -2, 0, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int32, np.uint8, bool])
def test_norms(order, dtype):
    """Within 4 units of the last place: powers and their sums each round."""
    for a in (A, NAN, A[:, ::-2], A[:0], np.zeros((3, 4))):
        a = (np.abs(np.nan_to_num(a)) * 9 if np.dtype(dtype).kind in "iub" else a).astype(dtype)
        for where in (None, (0, ), (1, ), (0, 1)):
            given = (axes(where), 0 if where is None else len(where))
            if a.size == 0 and np.isinf(order):
                if where != (1, ):  # of nothing: no value
                    with pytest.raises(VivaError):
                        new("norm", tensor_of(a), c.c_double(order), *given, 0)
                continue
            wide = a.astype(np.float64)
            expected = np.linalg.vector_norm(wide, ord=order, axis=where, keepdims=True)
            found = new("norm", tensor_of(a), c.c_double(order), *given, 1).numpy()
            result = np.dtype(dtype) if np.dtype(dtype).kind == "f" else np.dtype(np.float64)
            assert found.dtype == result and found.shape == expected.shape
            with np.errstate(over="ignore"):
                expected = expected.astype(result)
            np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64),
                                       rtol=4 * np.finfo(result).eps)


@pytest.mark.parametrize("order", [1, -1, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int32, np.uint8, bool])
def test_matrix_norms(order, dtype):
    """F16 is summed in F32: within the last unit of the exact value."""
    batch = rng.normal(size=(3, 2, 5, 4)) * 9
    for a in (A, NAN, A[:, ::-2], A[1:, :1], batch, batch.transpose(3, 0, 2, 1)):
        a = (np.abs(np.nan_to_num(a)) if np.dtype(dtype).kind in "iub" else a).astype(dtype)
        expected = np.linalg.matrix_norm(a.astype(np.float64), ord=order, keepdims=True)
        result = np.dtype(dtype) if np.dtype(dtype).kind == "f" else np.dtype(np.float64)
        for keep in (0, 1):
            found = new("matrix_norm", tensor_of(a), c.c_double(order), keep).numpy()
            assert found.dtype == result and found.shape == (expected.shape if keep else a.shape[:-2])
            np.testing.assert_allclose(found.astype(np.float64), expected.reshape(found.shape), rtol=np.finfo(result).eps)


def test_matrix_norm_refuses():
    for order in (2, -2, 0, 3, np.nan):
        with pytest.raises(VivaError, match="singular"):
            new("matrix_norm", tensor_of(A), c.c_double(order), 0)
    with pytest.raises(VivaError, match="2 or more"):
        new("matrix_norm", tensor_of(A[0]), c.c_double(1), 0)
    with pytest.raises(VivaError, match="nothing"):  # NumPy's: zero-size array to reduction operation maximum
        new("matrix_norm", tensor_of(A[:, :0]), c.c_double(1), 0)


def test_norm_refuses_nan():
    with pytest.raises(VivaError, match="order"):
        new("norm", tensor_of(A), c.c_double(np.nan), None, 0, 0)


class Window(c.Structure):
    _fields_ = [("size", c.c_size_t), ("kernel", c.c_uint64 * 2), ("stride", c.c_uint64 * 2), ("padding", c.c_uint64 * 2),
                ("dilation", c.c_uint64 * 2), ("groups", c.c_uint64)]


def sizes(*values):
    return (c.c_uint64 * len(values))(*values)


def listed(*tensors):
    return (c.c_void_p * len(tensors))(*[t._as_parameter_.value for t in tensors]), len(tensors)


POOL = Window(c.sizeof(Window), (2, 2), (1, 1), (1, 1), (1, 1), 1)
SAME = Window(c.sizeof(Window), (0, 0), (1, 1), (1, 1), (1, 1), 1)
ZERO = (c.c_double(0.5), )
MAP = c.CFUNCTYPE(c.c_double, c.c_void_p, c.c_uint64, c.c_double)(lambda user, index, x: x * index)
MAP2 = c.CFUNCTYPE(c.c_double, c.c_void_p, c.c_uint64, c.c_double, c.c_double)(lambda user, index, x, y: x - y * index)
# name: the arguments for two tensors; a result of 6 by 6 may lie over the first operand
CALLS = {
    "dot": lambda a, b: (new("select", a, 0, c.c_int64(1)), new("select", b, 0, c.c_int64(2))),
    "outer": lambda a, b: (new("select", a, 0, c.c_int64(1)), new("select", b, 1, c.c_int64(2))),
    "einsum": lambda a, b: (b"ij,kj->ki", *listed(a, b)),
    "norm": lambda a, b: (a, c.c_double(3), axes((1, )), 1, 1),
    "layer_norm": lambda a, b: (a, 0, None, None, c.c_double(1e-5)),
    "rms_norm": lambda a, b: (a, 1, None, c.c_double(1e-5)),
    "percentile": lambda a, b: (a, c.c_double(30), 0, 1),
    "median": lambda a, b: (a, AXIS_ALL, 0),
    "conv2d": lambda a, b: (a, new("slice_step", new("slice_step", b, 0, c.c_int64(0), c.c_int64(3), c.c_int64(1)), 1,
                                   c.c_int64(0), c.c_int64(3), c.c_int64(1)), None, c.byref(SAME)),
    "pool2d": lambda a, b: (1, a, c.byref(POOL)),
    "similarity": lambda a, b: (2, a, b, 1),
    "is_close": lambda a, b: (a, b, *ZERO, *ZERO),
    "gather": lambda a, b: (a, new("along", 3, b, 0), 0),
    "concatenate": lambda a, b: (*listed(a, b), 1),
    "stack": lambda a, b: (*listed(b, a), 1),
    "roll": lambda a, b: (a, c.c_int64(2), 1),
    "pad": lambda a, b: (a, sizes(1, 0), sizes(0, 2), c.c_double(7)),
    "tile": lambda a, b: (a, sizes(2, 1)),
    "repeat": lambda a, b: (a, c.c_uint64(2), 0),
    "matrix_norm": lambda a, b: (a, c.c_double(1), 0),
    "clip_by_norm": lambda a, b: (a, c.c_double(2)),
    "diag": lambda a, b: (a, c.c_int64(-1)),
    "map": lambda a, b: (a, MAP, None),
    "map2": lambda a, b: (a, b, MAP2, None),
}


@pytest.mark.parametrize("name", CALLS)
def test_into(name):
    a, b = tensor_of(A), tensor_of(B)
    arguments = CALLS[name](a, b)  # kept while they are used
    expected = new(name, *arguments).numpy()
    for dtype in (expected.dtype, np.dtype(np.float32)):
        holder = np.full((*expected.shape, 2), 5, dtype)
        whole = tensor_of(holder)
        out = new("select", whole, -1, c.c_int64(1))  # every second element
        call(name + "_into", *arguments, out)
        holder[..., 1] = expected.astype(dtype)
        assert same(whole.numpy(), holder), name
    if expected.shape == A.shape:
        over = tensor_of(A)
        turned = new("transpose", over, 0, 1)
        straight = CALLS[name](turned, b)
        expected = new(name, *straight).numpy()
        call(name + "_into", *straight, over)
        assert same(over.numpy(), expected.astype(np.float64)), f"{name} over its operand"
    wrong = tensor_of(np.full((5, 7, 3), 1.0))
    for out, code in ((wrong, "shape"), (None, "NULL")):
        with pytest.raises(VivaError, match=code):
            call(name + "_into", *arguments, out)
    assert np.all(wrong.numpy() == 1)


def every_second(shape, dtype):
    """An array of fives, a tensor over it, every second element of it."""
    holder = np.full((*shape, 2), 5, dtype)
    whole = tensor_of(holder)
    return holder, whole, new("select", whole, -1, c.c_int64(1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int16, np.uint8])
def test_given_values_into(dtype):
    d = c.c_double
    for name, arguments, expected in (
        ("arange", (d(1), d(10), d(2)), np.arange(1, 10, 2, dtype=dtype)),
        ("linspace", (d(0), d(9)), np.linspace(0, 9, 7, dtype=dtype)),
        ("logspace", (d(0), d(3), d(2)), np.logspace(0, 3, 4, base=2, dtype=dtype)),
        ("eye", (c.c_int64(-1), ), np.eye(4, 3, -1, dtype=dtype)),
        ("fill", (), np.full((2, 3), 7, dtype)),
    ):
        holder, whole, out = every_second(expected.shape, dtype)
        if name == "fill":
            call("fill", out, d(7))
        else:
            call(name + "_into", *arguments, out)
        holder[..., 1] = expected
        assert same(whole.numpy(), holder), name


def test_given_values_refuse():
    d, row, flat = c.c_double, tensor_of(np.zeros(3)), tensor_of(np.zeros((3, 3)))
    for name, arguments, out, match in (("arange", (d(0), d(4), d(1)), row, "shape"), ("arange", (d(0), d(4), d(0)), row, "end"),
                                        ("linspace", (d(0), d(1)), flat, "1 axes"), ("logspace", (d(0), d(1), d(0)), row, "base"),
                                        ("eye", (c.c_int64(0), ), row, "2 axes"), ("eye", (c.c_int64(0), ), None, "NULL"),
                                        ("random", (None, ), tensor_of(np.zeros(3, np.int8)), "not defined")):
        with pytest.raises(VivaError, match=match):
            call(name + "_into", *arguments, out)
    assert not row.numpy().any() and not flat.numpy().any()


def test_random_into_is_random():
    from viva_tensor import engine
    expected = new("random", engine, 2, 2, sizes(3, 5), None).numpy()
    holder, whole, out = every_second((3, 5), np.float32)
    call("random_into", None, out)
    holder[..., 1] = expected
    assert same(whole.numpy(), holder)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, bool])
def test_one_hot_into(dtype):
    places = np.array([[1, -1], [0, 2]])
    holder, whole, out = every_second((2, 2, 4), dtype)
    call("one_hot_into", tensor_of(places), out)
    holder[..., 1] = np.eye(4)[places]
    assert same(whole.numpy(), holder)
    for wrong in (np.zeros((2, 4)), np.zeros(())):
        with pytest.raises(VivaError, match="shape"):
            call("one_hot_into", tensor_of(places), tensor_of(wrong))
    with pytest.raises(VivaError, match="outside"):
        call("one_hot_into", tensor_of(places), tensor_of(np.zeros((2, 2, 2))))


def test_top_k_into():
    a = tensor_of(A)
    order = np.argsort(-A, axis=1, kind="stable")[:, :3]
    holder, whole, values = every_second((6, 3), np.float32)
    indices = tensor_of(np.zeros((6, 3), np.int32))
    call("top_k_into", a, c.c_uint64(3), 1, values, indices)
    holder[..., 1] = np.take_along_axis(A, order, 1)
    assert same(whole.numpy(), holder) and np.array_equal(indices.numpy(), order)
    over = tensor_of(A)  # the values lie over what they are chosen from
    first = new("slice_step", over, 1, c.c_int64(0), c.c_int64(3), c.c_int64(1))
    call("top_k_into", over, c.c_uint64(3), 1, first, None)
    assert same(over.numpy()[:, :3], np.take_along_axis(A, order, 1)) and same(over.numpy()[:, 3:], A[:, 3:])
    before = whole.numpy()
    for given, match in (((values, tensor_of(np.zeros((6, 4)))), "indices has the shape"), ((values, values), "share")):
        with pytest.raises(VivaError, match=match):
            call("top_k_into", a, c.c_uint64(3), 1, *given)
    assert same(whole.numpy(), before)


def test_clip_by_norm_over_itself_in_another_order():
    """Where nothing is clipped, too: the values that are written are those that are read."""
    for size in (3, 9):
        a = np.arange(1.0, size * size + 1).reshape(size, size)
        for longest in (1e9, 2.0):
            over = tensor_of(a.copy())
            call("clip_by_norm_into", over, c.c_double(longest), new("transpose", over, 0, 1))
            np.testing.assert_allclose(over.numpy().T, a * min(1, longest / np.linalg.norm(a)), rtol=1e-15)


def flat_calls(n, dtype):
    """Calls whose operands or results have n elements, of values that overflow or are rounded in the type."""
    x = (np.arange(1, n + 1) * 37 % 251 + 0.37).astype(dtype)
    row, column, one = tensor_of(x), tensor_of(x[:, None]), tensor_of(x[:1])
    yield "dot", (row, row)
    yield "matmul", (column, tensor_of(x[None, :1]))
    yield "matmul", (tensor_of(x[None]), column)
    yield "outer", (row, one)
    yield "einsum", (b"i,i->i", *listed(row, row))
    yield "einsum", (b"i,i->", *listed(row, row))
    yield "einsum", (b"i->", *listed(row))
    for op in range(13):  # sum … argmin
        yield "reduce", (op, row, None, 0, 0)
        yield "reduce", (op, column, axes((1, )), 1, 0)
    for order in (0, 1, 2, 3, np.inf):
        yield "norm", (column, c.c_double(order), axes((1, )), 1, 0)
    yield "dense", (column, tensor_of(x[:1, None]), one, 0)
    yield "along", (0, row, 0)
    yield "clip_by_norm", (row, c.c_double(5))
    yield "percentile", (row, c.c_double(30), 0, 0)
    yield "similarity", (1, row, row, 0)


@pytest.mark.parametrize("n", [8, 63, 64, 65, 66, 700])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint64, np.float16, np.float32, bool])
def test_into_another_type_is_the_result_converted(n, dtype):
    """Few elements and many take other ways: both give the result's type first, then out's."""
    for name, arguments in flat_calls(n, dtype):
        result = new(name, *arguments)
        for code, target in NUMPY.items():
            out = tensor_of(np.zeros(result.numpy().shape, target))
            call(name + "_into", *arguments, out)
            assert same(out.numpy(), new("astype", result, code).numpy()), f"{name} {arguments} {n} {dtype} into {target}"


@pytest.mark.parametrize("n", [2, 70])
def test_dense_into_another_type(n):
    """The bias is added before anything is converted; one of a wider type widens the result, as conv2d's does."""
    x, w = np.full((n, 1), 100, np.int8), np.full((1, 1), 1, np.int8)
    for bias, relu, expected in ((100, 0, -56), (100, 1, 0), (20, 1, 120)):
        b = tensor_of(np.array([bias], np.int8))
        for target in (np.int8, np.int64, np.float32, np.uint8):
            out = tensor_of(np.zeros((n, 1), target))
            call("dense_into", tensor_of(x), tensor_of(w), b, relu, out)
            assert same(out.numpy(), np.full((n, 1), expected).astype(target))
    wide = new("dense", tensor_of(x), tensor_of(w), tensor_of(np.array([1000], np.int32)), 0).numpy()
    assert same(wide, np.full((n, 1), 1100, np.int32))
    third = new("dense", tensor_of(np.full((n, 1), 2049, np.float16)), tensor_of(np.ones((1, 1), np.float16)),
                tensor_of(np.array([1], np.float16)), 0).numpy()
    assert same(third, np.full((n, 1), 2048, np.float16))  # 2049 as F16 is 2048, and 2048 + 1 is rounded once


@pytest.mark.parametrize("n", [2, 70])
def test_dense_refuses_before_it_writes(n):
    x, w = np.ones((n, 1)), np.ones((1, 1))
    storage = new("astype", tensor_of(np.ones(1)), DTYPES[E4M3])
    for dtype, bias, relu, target in ((bool, None, 1, bool), (bool, None, 1, np.float32), (np.float32, storage, 0, np.float32),
                                      (np.float32, tensor_of(np.ones(2)), 0, np.float32)):
        out = tensor_of(np.full((n, 1), 7, target))
        with pytest.raises(VivaError):
            call("dense_into", tensor_of(x.astype(dtype)), tensor_of(w.astype(dtype)), bias, relu, out)
        assert same(out.numpy(), np.full((n, 1), 7, target))
    out = tensor_of(np.zeros((n, 1), bool))  # not relu of BOOL, but relu's result as BOOL
    call("dense_into", tensor_of(-x), tensor_of(w), None, 1, out)
    assert not out.numpy().any()
