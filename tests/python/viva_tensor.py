"""Tensors of libviva beside NumPy arrays: wrapping views without copies, calling operations, copying results out."""

import ctypes as c

import ml_dtypes
import numpy as np

from viva_ctypes import ErrorInfo, VivaError, lib

BF16, E4M3, E5M2 = np.dtype(ml_dtypes.bfloat16), np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e5m2)
E2M1, E8M0 = np.dtype(ml_dtypes.float4_e2m1fn), np.dtype(ml_dtypes.float8_e8m0fnu)
DTYPES = {np.dtype(np.float64): 1, np.dtype(np.float32): 2, np.dtype(np.float16): 3, BF16: 4, np.dtype(np.int64): 5,
          np.dtype(np.int32): 6, np.dtype(np.int16): 7, np.dtype(np.int8): 8, np.dtype(np.uint64): 9,
          np.dtype(np.uint32): 10, np.dtype(np.uint16): 11, np.dtype(np.uint8): 12, np.dtype(bool): 13, E4M3: 14,
          E5M2: 15, E8M0: 16, E2M1: 17}
NUMPY = {code: dtype for dtype, code in DTYPES.items()}
COMPUTE = [d for d, code in DTYPES.items() if code <= 13]
FLOATS = [d for d, code in DTYPES.items() if code <= 4]


class Desc(c.Structure):
    _fields_ = [("size", c.c_size_t), ("dtype", c.c_int), ("rank", c.c_uint32), ("shape", c.c_uint64 * 8),
                ("strides", c.c_int64 * 8), ("elements", c.c_uint64), ("bytes", c.c_uint64), ("contiguous", c.c_int32),
                ("on_device", c.c_int32)]


lib.viva_tensor_elements.restype = c.c_void_p
lib.viva_tensor_release.restype = None
for _name in ("viva_unary_name", "viva_binary_name", "viva_reduction_name"):
    getattr(lib, _name).restype = c.c_char_p

_error = ErrorInfo()
_error_at = c.byref(_error)


def call(function, *arguments):
    """Calls lib.viva_tensor_FUNCTION; raises VivaError."""
    if getattr(lib, "viva_tensor_" + function)(*arguments, _error_at) != 0:
        raise VivaError(_error)


def new(function, *arguments):
    """Calls what ends in a place for a tensor; returns the Tensor."""
    handle = c.c_void_p()
    if getattr(lib, "viva_tensor_" + function)(*arguments, c.byref(handle), _error_at) != 0:
        raise VivaError(_error)
    return Tensor(handle)


def names(function):
    """The operations of an enum, in its order."""
    found = []
    while (name := getattr(lib, function)(len(found))) is not None:
        found.append(name.decode())
    return found


class Tensor:
    """One reference to a tensor."""

    def __init__(self, handle, keep=None):
        self._as_parameter_ = handle
        self.keep = keep  # the memory of a wrapped array

    def __del__(self):
        lib.viva_tensor_release(self)

    def numpy(self):
        """A copy."""
        d = Desc(c.sizeof(Desc))
        call("info", self, c.byref(d))
        dtype, shape = NUMPY[d.dtype], tuple(d.shape[:d.rank])
        if not d.contiguous:
            return new("copy", self).numpy()
        if d.bytes == 0:
            return np.empty(shape, dtype)
        raw = c.string_at(lib.viva_tensor_elements(self), d.bytes)
        return np.frombuffer(raw, np.uint8).view(dtype).reshape(shape)


engine = c.c_void_p()


def open_engine(threads=2):
    """The engine of all tensors that follow."""
    if not engine:
        from viva_ctypes import options
        chosen = options("viva_engine_options_default", threads=threads)
        assert lib.viva_engine_open(c.byref(chosen), c.byref(engine), None) == 0


class Memory:
    """A one-dimensional array, wrapped once, of which any strided part is a view."""

    def __init__(self, array):
        assert array.ndim == 1 and array.flags.c_contiguous
        open_engine()
        self.array = array
        shape = (c.c_uint64 * 1)(array.size)
        self.tensor = new("wrap", engine, c.c_void_p(array.ctypes.data), c.c_size_t(array.nbytes),
                          DTYPES[array.dtype], 1, shape)

    def view(self, array):
        """The tensor over the elements of an array that lies in this memory."""
        size, rank = array.itemsize, array.ndim
        offset = (array.__array_interface__["data"][0] - self.array.__array_interface__["data"][0]) // size
        shape = (c.c_uint64 * 8)(*array.shape)
        strides = (c.c_int64 * 8)(*[s // size for s in array.strides])
        if array.size == 0:
            offset = 0
        tensor = new("view", self.tensor, rank, shape, strides, c.c_int64(offset))
        tensor.keep = self
        return tensor


def tensor(array):
    """A tensor over a copy of the array, row-major."""
    array = np.array(array, order="C", copy=True)
    return Memory(array.reshape(-1)).view(array) if array.ndim != 1 else Memory(array).view(array)


def axes(values):
    return None if values is None else (c.c_int32 * max(1, len(values)))(*values)
