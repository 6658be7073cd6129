"""Tensors as text against NumPy's array2string."""

import ctypes as c
import itertools

import numpy as np
import pytest

from tensor_cases import SHAPES, Pool
from viva_tensor import BF16, COMPUTE, VivaError, call, open_engine, tensor as tensor_of

pytestmark = pytest.mark.filterwarnings("ignore")
open_engine()
rng = np.random.default_rng(4)


class Options(c.Structure):
    _fields_ = [("size", c.c_size_t), ("threshold", c.c_uint64), ("edge_items", c.c_uint32),
                ("line_width", c.c_uint32), ("precision", c.c_uint32), ("reserved", c.c_uint32)]


def text_of(tensor, **given):
    o = {"threshold": 1000, "edge_items": 3, "line_width": 75, "precision": 8} | given
    options = Options(c.sizeof(Options), o["threshold"], o["edge_items"], o["line_width"], o["precision"], 0)
    length = c.c_size_t()
    call("format", tensor, c.byref(options), None, c.c_size_t(0), c.byref(length))
    buffer = c.create_string_buffer(length.value + 1)
    call("format", tensor, c.byref(options), buffer, c.c_size_t(length.value + 1), None)
    assert len(buffer.value) == length.value
    return buffer.value.decode()


def check(array, tensor, **given):
    names = {"edge_items": "edgeitems", "line_width": "max_line_width"}
    expected = np.array2string(array, **{names.get(k, k): v for k, v in given.items()})
    assert text_of(tensor, **given) == expected, f"{array.dtype} {array.shape} {given}"


def test_all_types_and_shapes():
    pool = Pool(seed=8)
    for dtype, shape, order in itertools.product(COMPUTE, SHAPES, range(4)):
        if dtype == BF16 or shape == ():
            continue  # of BF16 NumPy knows no digits; it prints a single number as Python does
        array, tensor = pool.operand(dtype, shape, order)
        check(array, tensor)
        check(array, tensor, threshold=10, edge_items=2, line_width=40, precision=3)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16], ids=str)
def test_floats(dtype):
    lists = [[1, 2.5, -3], [0.1, 0.2, 0.3], [1e10, 1], [1e-5, 1], [0, 0], [-0.0, 1], [np.nan, 1],
             [np.inf, -np.inf, 2], [np.nan] * 3, [-np.inf], [1 / 3, 2 / 3], [123456.789, 1], [999.9995, 0.5],
             [1e-4, 0.05], [1e-300, 1e300], [1e100, -2e-100], [65504, 1e-3], [0.99999999999], [100, 0.1]]
    for values in lists:
        array = np.array(values).astype(dtype)
        check(array, tensor_of(array))
        check(array, tensor_of(array), precision=2)
    for scale in (1, 1e-3, 1e6, 1e-12):
        array = (rng.normal(size=(6, 7)) * scale).astype(dtype)
        for precision in (0, 1, 4, 8, 15):
            check(array, tensor_of(array), precision=precision)


def test_long_axes_are_shortened():
    for shape in ((2000, ), (40, 50), (3, 4, 200), (11, 2, 60), (7, 8, 9, 10)):
        array = np.arange(int(np.prod(shape))).reshape(shape)
        check(array, tensor_of(array))
        check(array * 0.5, tensor_of(array * 0.5), line_width=30)


def test_single_numbers_and_places():
    assert text_of(tensor_of(np.array(1.5))) == "1.5" and text_of(tensor_of(np.array(7))) == "7"
    assert text_of(tensor_of(np.array(True))) == "True"
    t = tensor_of(np.arange(9))
    buffer = c.create_string_buffer(8)
    call("format", t, None, buffer, c.c_size_t(8), None)
    assert buffer.value == b"[0 1 2 "
    with pytest.raises(VivaError, match="precision is 18"):
        text_of(t, precision=18)
