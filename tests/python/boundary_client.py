"""A client of libviva through ctypes, written from the headers alone: what docs/guide-boundary.md says is enough.

    engine = Engine()
    weight = engine.prepack_fp8(numpy_array)             # [out][in], float32; weights [in][out]: pass array.T
    y = weight.linear(x)                                 # numpy in, numpy out
    print(engine.load("model.gguf", "fp8").generate("Once upon a time", 20))

Handles are released by finalizers, in whatever order and on whatever thread the interpreter runs them.
"""

import ctypes as c
import itertools
import os
import weakref

import numpy as np

F32, F16, BF16 = 2, 3, 4  # viva_dtype
ACT_AUTO, ACT_16, ACT_FP8, ACT_INT8 = 0, 1, 2, 3  # viva_activation_mode


class Error(c.Structure):  # viva_error
    _fields_ = [("code", c.c_int), ("reserved", c.c_int32), ("offset", c.c_uint64), ("file", c.c_char * 512),
                ("item", c.c_char * 128), ("message", c.c_char * 512)]


class LinearOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("act", c.c_int), ("output_dtype", c.c_int), ("into", c.c_void_p),
                ("overflows", c.POINTER(c.c_uint64)), ("accumulate", c.c_int), ("reserved", c.c_int32)]


class PackedInfo(c.Structure):
    _fields_ = [("size", c.c_size_t), ("format", c.c_int), ("block", c.c_uint32), ("out_features", c.c_uint64),
                ("in_features", c.c_uint64), ("scale_dtype", c.c_int), ("global_divides", c.c_int32),
                ("global_scale", c.c_float), ("pairs", c.c_int32), ("bytes", c.c_uint64), ("code_bytes", c.c_uint64),
                ("scale_bytes", c.c_uint64), ("bits_per_weight", c.c_double), ("name", c.c_char * 32)]


class MemoryStats(c.Structure):
    _fields_ = [("size", c.c_size_t), ("current_bytes", c.c_size_t), ("peak_bytes", c.c_size_t),
                ("allocations", c.c_uint64)]


class ModelOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("weights", c.c_char_p), ("tokenizer_path", c.c_char_p),
                ("context", c.c_uint64), ("num_layers", c.c_uint64), ("kv", c.c_int), ("load", c.c_int),
                ("progress", c.c_void_p), ("progress_user", c.c_void_p), ("act", c.c_int), ("decode", c.c_int),
                ("cache_bytes", c.c_uint64), ("accumulate", c.c_int), ("reserved", c.c_int32)]


class Sampling(c.Structure):
    _fields_ = [("size", c.c_size_t), ("temperature", c.c_float), ("top_p", c.c_float), ("min_p", c.c_float),
                ("repetition_penalty", c.c_float), ("top_k", c.c_int32), ("seed", c.c_uint64),
                ("reserved", c.c_uint64 * 4)]


class GenerateOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("max_new_tokens", c.c_uint64), ("sampling", Sampling),
                ("stop_on_eos", c.c_int32), ("match_special", c.c_int32), ("add_bos", c.c_int32),
                ("logprobs", c.c_uint32), ("stop_strings", c.POINTER(c.c_char_p)), ("stop_count", c.c_size_t),
                ("on_text", c.c_void_p), ("on_text_user", c.c_void_p), ("session", c.c_void_p),
                ("sequence", c.c_uint64), ("progress", c.c_void_p), ("progress_user", c.c_void_p),
                ("stop_tokens", c.POINTER(c.c_int32)), ("stop_token_count", c.c_size_t), ("keep_last", c.c_int32),
                ("reserved", c.c_int32)]


class GenerateResult(c.Structure):  # the part that is read
    _fields_ = [("prompt_tokens", c.POINTER(c.c_int32)), ("prompt_count", c.c_size_t),
                ("tokens", c.POINTER(c.c_int32)), ("token_count", c.c_size_t), ("text", c.c_char_p)]


class VivaError(Exception):
    def __init__(self, info):
        self.code = info.code
        place = ": ".join(part.decode() for part in (info.file, info.item) if part)
        super().__init__(f"{place}: {info.message.decode()}" if place else info.message.decode())


RELEASE = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p)  # viva_tensor_release_fn


class TensorMemory(c.Structure):
    _fields_ = [("size", c.c_size_t), ("data", c.c_void_p), ("bytes", c.c_size_t), ("strides", c.POINTER(c.c_int64)),
                ("release", RELEASE), ("release_user", c.c_void_p), ("on_device", c.c_int32), ("reserved", c.c_int32)]


lib = c.CDLL(os.environ["VIVA_LIBRARY"])
for _name, _struct in {"linear": LinearOptions, "model": ModelOptions, "generate": GenerateOptions}.items():
    getattr(lib, f"viva_{_name}_options_default").restype = _struct
for _name in ("viva_engine_release", "viva_tensor_release", "viva_packed_weight_release", "viva_model_release",
              "viva_generate_result_free"):
    getattr(lib, _name).restype, getattr(lib, _name).argtypes = None, [c.c_void_p]
lib.viva_tensor_elements.restype, lib.viva_tensor_elements.argtypes = c.c_void_p, [c.c_void_p]


def call(name, *arguments):
    error = Error()
    if getattr(lib, name)(*arguments, c.byref(error)) != 0:
        raise VivaError(error)


class Handle:
    """A pointer that its finalizer gives back."""

    def __init__(self, release, name, *arguments):
        self.pointer = c.c_void_p()
        call(name, *arguments, c.byref(self.pointer))
        self.close = weakref.finalize(self, release, self.pointer.value)  # close() may be called early; it runs once


_wrapped, _keys = {}, itertools.count(1)  # arrays that tensors still look at, by what their release function is given


@RELEASE
def _forget(user, _data):
    del _wrapped[user]


def tensor(engine, array):
    """Wraps an array without a copy; the array lives until the last tensor over it is released."""
    if any(s < 0 for s in array.strides):
        array = np.ascontiguousarray(array)  # negative strides need viva_tensor_view
    dtype = {np.dtype(np.float32): F32, np.dtype(np.float16): F16}[array.dtype]
    shape = (c.c_uint64 * array.ndim)(*array.shape)
    strides = (c.c_int64 * array.ndim)(*(s // array.itemsize for s in array.strides))
    span = sum((n - 1) * s for n, s in zip(array.shape, array.strides)) + array.itemsize if array.size else 0
    key = next(_keys)
    _wrapped[key] = array
    try:
        memory = TensorMemory(c.sizeof(TensorMemory), array.ctypes.data, span, strides, _forget, key)
        return Handle(lib.viva_tensor_release, "viva_tensor_wrap_memory", engine.pointer, c.byref(memory), dtype,
                      array.ndim, shape)
    except VivaError:
        _wrapped.pop(key, None)
        raise


class Weight(Handle):
    def __init__(self, engine, name, *arguments):
        super().__init__(lib.viva_packed_weight_release, name, *arguments)
        self.engine = engine

    def info(self):
        info = PackedInfo(size=c.sizeof(PackedInfo))
        call("viva_packed_weight_info", self.pointer, c.byref(info))
        return info

    def unpack(self):
        info = self.info()
        values = np.empty((info.out_features, info.in_features), np.float32)
        call("viva_packed_weight_unpack", self.pointer, c.c_void_p(values.ctypes.data), c.c_size_t(values.size))
        return values

    def linear(self, x, act=ACT_AUTO):
        options = lib.viva_linear_options_default()
        options.act, options.output_dtype = act, F32
        given = tensor(self.engine, x)  # kept until the call has ended
        y = Handle(lib.viva_tensor_release, "viva_linear", given.pointer, self.pointer, None, c.byref(options))
        shape = (*x.shape[:-1], self.info().out_features)
        view = (c.c_float * int(np.prod(shape))).from_address(lib.viva_tensor_elements(y.pointer))
        return np.array(view, np.float32).reshape(shape)  # a copy: y goes with this function


class Model(Handle):
    def generate(self, prompt, count):
        options = lib.viva_generate_options_default()
        options.max_new_tokens = count
        data = prompt.encode()
        result = Handle(lib.viva_generate_result_free, "viva_generate", self.pointer, data, c.c_size_t(len(data)),
                        c.byref(options))
        return c.cast(result.pointer, c.POINTER(GenerateResult)).contents.text.decode()


class Engine(Handle):
    def __init__(self):
        super().__init__(lib.viva_engine_release, "viva_engine_open", None)

    def prepack_fp8(self, array, block=None):
        weight = tensor(self, array)
        if block is None:
            return Weight(self, "viva_prepack_fp8_weight", self.pointer, weight.pointer, None)
        return Weight(self, "viva_prepack_fp8_weight_blocked", self.pointer, weight.pointer, c.c_uint32(block), None)

    def prepack_nvfp4(self, array):
        weight = tensor(self, array)
        return Weight(self, "viva_prepack_nvfp4_weight", self.pointer, weight.pointer, None)

    def bytes_held(self):
        stats = MemoryStats(size=c.sizeof(MemoryStats))
        call("viva_engine_memory", self.pointer, c.byref(stats))
        return stats.current_bytes

    def load(self, path, weights=None):
        options = lib.viva_model_options_default()
        options.weights = weights.encode() if weights else None
        return Model(lib.viva_model_release, "viva_model_load", self.pointer, os.fsencode(path), c.byref(options))
