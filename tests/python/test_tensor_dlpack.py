"""DLPack 1.1 both ways with NumPy, through capsules as Python libraries exchange them."""

import ctypes as c

import numpy as np
import pytest

from tensor_cases import same
from viva_tensor import NUMPY, engine, lib, new, open_engine, Tensor, tensor as tensor_of

open_engine()
python = c.pythonapi
python.PyCapsule_New.restype, python.PyCapsule_New.argtypes = c.py_object, (c.c_void_p, c.c_char_p, c.c_void_p)
python.PyCapsule_GetPointer.restype, python.PyCapsule_GetPointer.argtypes = c.c_void_p, (c.py_object, c.c_char_p)
python.PyCapsule_SetName.argtypes = (c.py_object, c.c_char_p)
WORD, USED = b"dltensor_versioned", b"used_dltensor_versioned"
KNOWN = [d for code, d in NUMPY.items() if code <= 13 and code != 4]  # NumPy exports no BF16


class Managed(c.Structure):
    _fields_ = [("major", c.c_uint32), ("minor", c.c_uint32), ("manager", c.c_void_p), ("deleter", c.c_void_p),
                ("flags", c.c_uint64), ("data", c.c_void_p), ("device_type", c.c_int32), ("device_id", c.c_int32),
                ("rank", c.c_int32), ("code", c.c_uint8), ("bits", c.c_uint8), ("lanes", c.c_uint16),
                ("shape", c.POINTER(c.c_int64)), ("strides", c.POINTER(c.c_int64)), ("byte_offset", c.c_uint64)]


class Exporter:
    """What np.from_dlpack asks."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack_device__(self):
        return 1, 0

    def __dlpack__(self, **_):
        managed = c.c_void_p()
        assert lib.viva_tensor_to_dlpack(self.tensor, c.byref(managed), None) == 0
        return python.PyCapsule_New(managed, WORD, None)


def take_over(capsule):
    """The tensor over a capsule's memory."""
    managed = python.PyCapsule_GetPointer(capsule, WORD)
    handle, error = c.c_void_p(), None
    if lib.viva_tensor_from_dlpack(engine, c.c_void_p(managed), c.byref(handle), error) != 0:
        return None
    python.PyCapsule_SetName(capsule, USED)
    return Tensor(handle)


def views(a):
    return [a, a[::-1], a[:, ::2], a.T, a[1:, 2:], a[:0], a[0]]


@pytest.mark.parametrize("dtype", KNOWN, ids=str)
def test_export(dtype):
    a = np.arange(24).reshape(4, 6).astype(dtype)
    t = tensor_of(a)
    there = np.from_dlpack(Exporter(t))
    assert same(there, a)
    del t  # NumPy holds the memory now
    assert same(there.copy(), a)
    turned = new("transpose", tensor_of(a), 0, 1)
    assert same(np.from_dlpack(Exporter(turned)), a.T)


@pytest.mark.parametrize("dtype", KNOWN, ids=str)
def test_import(dtype):
    a = np.arange(24).reshape(4, 6).astype(dtype)
    for v in views(a):
        t = take_over(v.__dlpack__(max_version=(1, 1)))
        assert same(t.numpy(), np.ascontiguousarray(v).reshape(v.shape))
        if v.size:
            assert lib.viva_tensor_elements(t) == v.__array_interface__["data"][0]  # no copy
    kept = take_over((a + a).__dlpack__(max_version=(1, 1)))  # the array itself is gone
    assert same(kept.numpy(), a + a)


def test_read_only_memory_is_copied():
    a = np.arange(6.0)
    a.flags.writeable = False
    t = take_over(a.__dlpack__(max_version=(1, 1)))
    assert same(t.numpy(), a) and lib.viva_tensor_elements(t) != a.__array_interface__["data"][0]


def test_small_floats_go_round():
    for code in (4, 14, 15, 16, 17):  # BF16, E4M3, E5M2, E8M0, E2M1
        narrow = new("astype", tensor_of(np.array([0.5, 1, 2, 4], np.float32)), code)
        managed, handle = c.c_void_p(), c.c_void_p()
        assert lib.viva_tensor_to_dlpack(narrow, c.byref(managed), None) == 0
        assert Managed.from_address(managed.value).flags == (4 if code == 17 else 0)
        assert lib.viva_tensor_from_dlpack(engine, managed, c.byref(handle), None) == 0
        back = new("astype", Tensor(handle), 2).numpy()
        assert same(back, np.array([0.5, 1, 2, 4], np.float32))


@pytest.mark.parametrize("field,value", [("major", 2), ("device_type", 2), ("code", 5), ("lanes", 4), ("rank", 9),
                                         ("rank", -1), ("byte_offset", 2**64 - 8), ("byte_offset", 2**63),
                                         ("data", 2**64 - 16)])
def test_refusals(field, value):
    managed, handle = c.c_void_p(), c.c_void_p()
    assert lib.viva_tensor_to_dlpack(tensor_of(np.zeros(3)), c.byref(managed), None) == 0
    struct = Managed.from_address(managed.value)
    old = getattr(struct, field)
    setattr(struct, field, value)
    assert lib.viva_tensor_from_dlpack(engine, managed, c.byref(handle), None) != 0 and not handle.value
    setattr(struct, field, old)  # after a failure it is still ours
    assert lib.viva_tensor_from_dlpack(engine, managed, c.byref(handle), None) == 0
    Tensor(handle)


def test_overflowing_shapes_are_refused():
    managed, handle = c.c_void_p(), c.c_void_p()
    assert lib.viva_tensor_to_dlpack(tensor_of(np.zeros((2, 2))), c.byref(managed), None) == 0
    struct = Managed.from_address(managed.value)
    for axis, value in ((0, 2**62), (1, -1)):
        old = struct.shape[axis]
        struct.shape[axis] = value
        assert lib.viva_tensor_from_dlpack(engine, managed, c.byref(handle), None) != 0
        struct.shape[axis] = old
    assert lib.viva_tensor_from_dlpack(engine, managed, c.byref(handle), None) == 0
    Tensor(handle)
