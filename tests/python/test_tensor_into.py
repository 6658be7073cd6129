"""Norms of any order against NumPy; every call of tensor_into.h against the call that makes a new tensor: into strided views,
other types, over its own operands; refused with out as it was."""

import ctypes as c

import numpy as np
import pytest

from tensor_cases import same
from viva_tensor import VivaError, axes, call, new, open_engine, tensor as tensor_of

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
