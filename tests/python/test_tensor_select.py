"""take, gather, scatter, masks, one-hot and layouts against NumPy; shapes and joins, all types."""

import ctypes as c
import itertools

import numpy as np
import pytest

from tensor_cases import SEEDS, Pool, same
from viva_tensor import (BF16, COMPUTE, DTYPES, NUMPY, VivaError, axes, call, lib, new, open_engine, Tensor, tensor as
                         tensor_of)

pytestmark = pytest.mark.filterwarnings("ignore")
open_engine()
AXIS_ALL = -2**31
INTEGERS = [d for d in COMPUTE if d.kind in "iu"]
rng = np.random.default_rng(11)


@pytest.fixture(scope="module", params=SEEDS)
def pool(request):
    return Pool(20 + request.param)


def indices(shape, size, dtype=np.dtype(np.int64)):
    low = 0 if dtype.kind == "u" else -size
    return rng.integers(low, size, shape).astype(dtype)


def test_take(pool):
    turn = 0
    for dtype, shape, index_shape in itertools.product(COMPUTE, [(7, ), (4, 5), (2, 3, 4)], [(), (6, ), (2, 3),
                                                                                             (0, )]):
        for axis, order in itertools.product((AXIS_ALL, *range(len(shape))), range(4)):
            turn += 1
            a, tensor = pool.operand(dtype, shape, order)
            size = a.size if axis == AXIS_ALL else shape[axis]
            i = indices(index_shape, size, INTEGERS[turn % len(INTEGERS)])
            expected = np.take(a, i.astype(np.int64), axis=None if axis == AXIS_ALL else axis)
            result = new("take", tensor, tensor_of(i), axis)
            assert same(result.numpy(), np.asarray(expected)), f"take {dtype} {shape} {index_shape} {axis} {order}"
            out = tensor_of(np.zeros(expected.shape, dtype))
            call("take_into", tensor, tensor_of(i), axis, out)
            assert same(out.numpy(), np.asarray(expected))
    with pytest.raises(VivaError, match="index 7 is outside axis 0 of the tensor"):
        new("take", tensor_of(np.zeros(7)), tensor_of(np.array([1, 7])), 0)
    with pytest.raises(VivaError, match="index -8 is outside axis 0 of the tensor"):
        new("take", tensor_of(np.zeros((7, 2))), tensor_of(np.array([-8])), 0)
    for call_into in ("take_into", "gather_into"):  # nothing is written before all indices were looked at
        out = tensor_of(np.full(3, 5.0))
        with pytest.raises(VivaError, match=r"index 7 is outside axis 0 of the tensor \[7\]"):
            call(call_into, tensor_of(np.zeros(7)), tensor_of(np.array([1, 2, 7])), 0, out)
        assert (out.numpy() == 5).all()
    with pytest.raises(VivaError, match="indices are F64"):
        new("take", tensor_of(np.zeros(7)), tensor_of(np.zeros(2)), 0)


def test_unsigned_indices_do_not_count_from_the_end():
    last = tensor_of(np.full(1, 2**64 - 1, np.uint64))
    for arguments in (("take", tensor_of(np.zeros(7)), last, 0), ("gather", tensor_of(np.zeros(7)), last, 0),
                      ("scatter", 0, tensor_of(np.zeros(7)), last, tensor_of(np.ones(1)), 0),
                      ("one_hot", last, c.c_uint64(3), DTYPES[np.dtype(np.float32)])):
        with pytest.raises(VivaError, match="index 18446744073709551615 is outside"):
            new(*arguments)


def test_gather(pool):
    for dtype, shape, order in itertools.product(COMPUTE, [(7, ), (4, 5), (2, 3, 4), (3, 1, 2)], range(4)):
        for axis in range(len(shape)):
            a, tensor = pool.operand(dtype, shape, order)
            for wide in (shape, tuple(1 if k != axis else 3 for k in range(len(shape)))):
                i = indices(wide, shape[axis])
                expected = np.take_along_axis(a, i, axis)
                assert same(new("gather", tensor, tensor_of(i), axis).numpy(),
                            expected), f"gather {dtype} {shape} {axis}"
    with pytest.raises(VivaError, match="do not go with"):
        new("gather", tensor_of(np.zeros((2, 3))), tensor_of(np.zeros((3, 3), np.int64)), 1)
    with pytest.raises(VivaError, match="index 3 is outside"):
        new("gather", tensor_of(np.zeros((2, 3))), tensor_of(np.full((2, 3), 3)), 1)


def test_scatter(pool):
    for dtype, shape, order in itertools.product(COMPUTE, [(7, ), (4, 5), (2, 3, 4)], range(3)):
        for axis in range(len(shape)):
            a, tensor = pool.operand(dtype, shape, order)
            i = indices(shape, shape[axis])
            v, v_tensor = pool.operand(dtype, shape, 0)
            expected = np.array(a)
            lanes = [np.moveaxis(x, axis, -1).reshape(-1, shape[axis]) for x in (expected, i, v)]
            turned = np.moveaxis(expected, axis, -1).copy().reshape(-1, shape[axis])
            added = turned.copy()
            for row in range(len(turned)):
                for k in range(shape[axis]):
                    turned[row, lanes[1][row, k]] = lanes[2][row, k]
                    added[row, lanes[1][row, k]] = added[row, lanes[1][row, k]] + lanes[2][row, k]
            back = [np.moveaxis(x.reshape(np.moveaxis(a, axis, -1).shape), -1, axis) for x in (turned, added)]
            for mode in (0, 1):
                result = new("scatter", mode, tensor, tensor_of(i), v_tensor, axis).numpy()
                assert same(result, back[mode]), f"scatter {mode} {dtype} {shape} {axis}"
    one = tensor_of(np.arange(5.0))
    call("scatter_into", 0, one, tensor_of(np.array([4, 3, 2, 1, 0])), one, 0)  # values are the tensor itself
    assert same(one.numpy(), np.arange(5.0)[::-1].copy())
    before = one.numpy()
    with pytest.raises(VivaError, match="index 5 is outside"):
        call("scatter_into", 0, one, tensor_of(np.array([0, 5])), tensor_of(np.zeros(2)), 0)
    assert same(one.numpy(), before)


def test_masks(pool):
    for dtype, shape, order in itertools.product(COMPUTE, [(), (7, ), (4, 5), (2, 3, 4), (0, 3)], range(4)):
        a, tensor = pool.operand(dtype, shape, order)
        m, mask = pool.operand(np.dtype(bool), shape, 0)
        assert same(new("nonzero", tensor).numpy(), np.argwhere(a != 0).astype(np.int64)), f"nonzero {dtype} {shape}"
        assert same(new("masked_select", tensor, mask).numpy(),
                    np.atleast_1d(a)[np.atleast_1d(m)]), f"select {dtype} {shape}"
        if len(shape) == 2:
            row, row_mask = pool.operand(np.dtype(bool), shape[1:], 0)
            wide = np.broadcast_to(row, shape)
            assert same(new("masked_select", tensor, row_mask).numpy(), a[wide])


def test_one_hot():
    for dtype, index_type in itertools.product(COMPUTE, INTEGERS):
        i = indices((2, 3), 4, index_type)
        expected = np.eye(4, dtype=np.float64)[i.astype(np.int64)].astype(dtype)
        assert same(new("one_hot", tensor_of(i), c.c_uint64(4), DTYPES[dtype]).numpy(), expected)
    with pytest.raises(VivaError, match="index 4 is outside axis"):
        new("one_hot", tensor_of(np.array([4])), c.c_uint64(4), 2)


def test_clip_into_and_map2(pool):
    function = c.CFUNCTYPE(c.c_double, c.c_void_p, c.c_uint64, c.c_double,
                           c.c_double)(lambda user, i, x, y: x - 2 * y)
    for dtype, order in itertools.product(COMPUTE, range(4)):
        a, tensor = pool.operand(dtype, (3, 4), order)
        if dtype != bool:
            out = tensor_of(np.zeros((3, 4), dtype))
            call("clip_into", tensor, c.c_double(-1.0), c.c_double(2.5), out)
            low, high = (0 if dtype.kind == "u" else -1, 2) if dtype.kind in "iu" else (dtype.type(-1),
                                                                                        dtype.type(2.5))
            assert same(out.numpy(), np.clip(a, low, high).astype(dtype)), f"clip {dtype}"
        if dtype in (np.float64, np.int8):
            found = new("map2", tensor, tensor_of(np.ones(4, dtype)), function, None).numpy()
            wide = a.astype(np.float64) - 2
            assert same(found, np.clip(wide, -128, 127).astype(dtype) if dtype == np.int8 else wide)


def test_clip_of_integers_to_no_integer():
    a = np.arange(4)
    with pytest.raises(VivaError, match=r"clip of the tensor \[4\] of I64: low is 0.2 and high is 0.7; expected an integer between them"):
        new("clip", tensor_of(a), c.c_double(0.2), c.c_double(0.7))
    assert same(new("clip", tensor_of(a), c.c_double(0.5), c.c_double(2.5)).numpy(), np.clip(a, 1, 2))
    assert same(new("clip", tensor_of(a + 0.0), c.c_double(0.2), c.c_double(0.7)).numpy(), np.clip(a, 0.2, 0.7))


def test_broadcast_shapes():
    made = [tensor_of(np.zeros(s)) for s in ((3, 1), (1, 4), (2, 1, 1))]
    rank, shape = c.c_uint32(), (c.c_uint64 * 8)()
    handles = (c.c_void_p * 3)(*[m._as_parameter_.value for m in made])
    assert lib.viva_broadcast_shapes(handles, 3, c.byref(rank), shape, None) == 0
    assert tuple(shape[:rank.value]) == (2, 3, 4)


# -- shapes: views and joins


def sizes(values):
    return (c.c_uint64 * max(1, len(values)))(*values)


def test_shapes(pool):
    for dtype, order in itertools.product(COMPUTE, range(4)):
        a, t = pool.operand(dtype, (2, 3, 4), order)
        checks = [(new("reshape", t, 2, sizes((6, 4))), a.reshape(6, 4)), (new("flatten", t), a.ravel()),
                  (new("permute", t, axes((2, 0, 1))), a.transpose(2, 0, 1)),
                  (new("flip", t, axes((0, 2)), 2), a[::-1, :, ::-1]),
                  (new("expand_dims", t, -2), np.expand_dims(a, -2)),
                  (new("slice_step", t, 2, c.c_int64(-1), c.c_int64(-2**63), c.c_int64(-2)), a[:, :, ::-2]),
                  (new("select", t, 1, c.c_int64(-1)), a[:, -1]), (new("roll", t, c.c_int64(5), 1), np.roll(a, 5, 1)),
                  (new("tile", t, sizes((2, 1, 3))), np.tile(a, (2, 1, 3))),
                  (new("repeat", t, c.c_uint64(3), 1), np.repeat(a, 3, 1)),
                  (new("pad", t, sizes((1, 0, 2)), sizes((0, 1, 1)),
                       c.c_double(1)), np.pad(a, ((1, 0), (0, 1), (2, 1)), constant_values=1)),
                  (new("broadcast_to", t, 4, sizes((5, 2, 3, 4))), np.broadcast_to(a, (5, 2, 3, 4)))]
        m, mt = pool.operand(dtype, (4, 5), order)
        checks += [(new("diag", mt, c.c_int64(k)), np.diag(m, k)) for k in (-5, -2, 0, 1, 4)]
        row, rt = pool.operand(dtype, (3, ), 0)
        checks += [(new("diag", rt, c.c_int64(k)), np.diag(row, k)) for k in (-1, 0, 2)]
        for i, (found, expected) in enumerate(checks):
            assert same(found.numpy(), np.asarray(expected)), f"shape {i} {dtype} {order}"


def test_joins(pool):
    for dtype, other, axis in itertools.product(COMPUTE, COMPUTE, range(-2, 2)):
        a, ta = pool.operand(dtype, (3, 4), 2)
        b, tb = pool.operand(other, (3, 4), 1)
        handles = (c.c_void_p * 2)(ta._as_parameter_.value, tb._as_parameter_.value)
        common = NUMPY[lib.viva_promote_types(DTYPES[dtype], DTYPES[other])]
        if common == np.float64 and BF16 in (dtype, other) and dtype != other:
            continue  # ml_dtypes has no such conversion
        parts = [a.astype(common), b.astype(common)]
        assert same(new("concatenate", handles, 2, axis).numpy(), np.concatenate(parts,
                                                                                 axis)), f"{dtype} {other} {axis}"
        assert same(new("stack", handles, 2, axis).numpy(), np.stack(parts, axis))


def test_splits(pool):
    a, t = pool.operand(np.dtype(np.int16), (4, 6), 2)
    for axis, parts in ((0, 2), (1, 3), (-1, 6)):
        handles = (c.c_void_p * parts)()
        call("split", t, axis, parts, handles)
        for found, expected in zip(handles, np.split(a, parts, axis)):
            assert same(Tensor(c.c_void_p(found)).numpy(), expected)
    for places in ((), (2, ), (0, 0, 5, 9)):
        handles = (c.c_void_p * (len(places) + 1))()
        call("split_at", t, 1, sizes(places), len(places), handles)
        for found, expected in zip(handles, np.split(a, places, 1)):
            assert same(Tensor(c.c_void_p(found)).numpy(), np.ascontiguousarray(expected))
    with pytest.raises(VivaError, match="in front of it"):
        call("split_at", t, 1, sizes((3, 1)), 2, (c.c_void_p * 3)())


# -- layouts


class Layout(c.Structure):
    _fields_ = [("size", c.c_size_t), ("bits", c.c_uint32), ("block", c.c_uint32), ("code_bytes", c.c_uint64),
                ("scale_bytes", c.c_uint64), ("bytes", c.c_uint64), ("ratio", c.c_double),
                ("whole_blocks", c.c_int32), ("reserved", c.c_int32)]


def test_layouts():
    lib.viva_layout_name.restype = c.c_char_p
    known = {
        "nvfp4": (4, 16, 1, 4),
        "mxfp4": (4, 32, 1, 0),
        "fp8-block32": (8, 32, 1, 0),
        "nf4": (4, 64, 4, 0),
        "int8-group128": (8, 128, 2, 0),
        "int4-group128": (4, 128, 2, 0),
        "int3-progressive": (3, 64, 2, 0),
        "int2-progressive": (2, 64, 2, 0)
    }
    for code, (name, (bits, block, scale, once)) in enumerate(known.items()):
        assert lib.viva_layout_name(code).decode() == name
        for shape in ((), (5, ), (64, ), (3, 100), (2, 3, 128), (0, 4)):
            d = Layout(c.sizeof(Layout))
            assert lib.viva_layout_info(code, len(shape), sizes(shape), 2, c.byref(d), None) == 0
            n, rows = (shape[-1] if shape else 1), int(np.prod(shape[:-1]))
            codes, scales = rows * -(-n * bits // 8), rows * -(-n // block) * scale
            total = codes + scales + (once if n * rows else 0)
            assert (d.code_bytes, d.scale_bytes, d.bytes) == (codes, scales, total)
            assert d.ratio == (n * rows * 4 / total if total else 0) and d.whole_blocks == (n % block == 0)
    assert lib.viva_layout_name(len(known)) is None
    d = Layout(c.sizeof(Layout))
    assert lib.viva_layout_info(0, 2, sizes((4096, 4096)), 2, c.byref(d), None) == 0
    assert 7.11 < d.ratio < 7.112  # the seeds' 8 left the scales out
