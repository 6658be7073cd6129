"""libviva through ctypes, for the tests: engines, models, sessions, generation, tokenizers, checkpoints.

The library is $VIVA_LIBRARY. Every failing call raises VivaError. test_ctypes.py compares the structs below with the
library's own sizes.
"""

import ctypes as c
import os

import numpy as np

F32, F16, BF16 = 2, 3, 4  # viva_dtype
REFERENCE, AVX2, AVX512 = 1, 2, 3  # viva_cpu_kernels


class ErrorInfo(c.Structure):
    _fields_ = [("code", c.c_int), ("reserved", c.c_int32), ("offset", c.c_uint64), ("file", c.c_char * 512),
                ("item", c.c_char * 128), ("message", c.c_char * 512)]


class EngineOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("device", c.c_int), ("device_index", c.c_int32), ("threads", c.c_int32),
                ("kernels", c.c_int), ("allocator", c.c_void_p), ("log", c.c_void_p), ("log_user", c.c_void_p),
                ("log_level", c.c_int), ("devices", c.POINTER(c.c_int32)), ("device_count", c.c_size_t)]


class CheckpointOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("load", c.c_int), ("reserved", c.c_int32), ("allocator", c.c_void_p),
                ("log", c.c_void_p), ("log_user", c.c_void_p)]


class ModelOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("weights", c.c_char_p), ("tokenizer_path", c.c_char_p), ("context", c.c_uint64),
                ("num_layers", c.c_uint64), ("kv", c.c_int), ("load", c.c_int), ("progress", c.c_void_p),
                ("progress_user", c.c_void_p), ("act", c.c_int), ("decode", c.c_int),
                ("cache_bytes", c.c_uint64), ("accumulate", c.c_int), ("reserved", c.c_int32)]


class SessionOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("capacity", c.c_uint64), ("kv", c.c_int), ("prefill_chunk", c.c_uint32),
                ("reserve", c.c_int32), ("reserved", c.c_int32)]


class PrefillOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("all_logits", c.c_void_p), ("all_logits_count", c.c_size_t),
                ("on_logits", c.c_void_p), ("on_logits_user", c.c_void_p), ("progress", c.c_void_p),
                ("progress_user", c.c_void_p)]


class SamplingOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("temperature", c.c_float), ("top_p", c.c_float), ("min_p", c.c_float),
                ("repetition_penalty", c.c_float), ("top_k", c.c_int32), ("seed", c.c_uint64),
                ("reserved", c.c_uint64 * 4)]


class GenerateOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("max_new_tokens", c.c_uint64), ("sampling", SamplingOptions),
                ("stop_on_eos", c.c_int32), ("match_special", c.c_int32), ("add_bos", c.c_int32),
                ("logprobs", c.c_uint32), ("stop_strings", c.POINTER(c.c_char_p)), ("stop_count", c.c_size_t),
                ("on_text", c.c_void_p), ("on_text_user", c.c_void_p), ("session", c.c_void_p),
                ("sequence", c.c_uint64), ("progress", c.c_void_p), ("progress_user", c.c_void_p),
                ("stop_tokens", c.POINTER(c.c_int32)), ("stop_token_count", c.c_size_t), ("keep_last", c.c_int32),
                ("reserved", c.c_int32)]


class GenerateResult(c.Structure):
    _fields_ = [("prompt_tokens", c.POINTER(c.c_int32)), ("prompt_count", c.c_size_t),
                ("tokens", c.POINTER(c.c_int32)), ("token_count", c.c_size_t), ("text", c.POINTER(c.c_char)),
                ("text_bytes", c.c_size_t), ("stop_reason", c.c_int), ("logprobs", c.c_uint32),
                ("total_tokens", c.c_uint64), ("ms_per_token", c.c_double), ("prefill_seconds", c.c_double),
                ("decode_seconds", c.c_double), ("token_logprobs", c.c_void_p), ("top_logprobs", c.c_void_p)]


class EncodeOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("match_special", c.c_int32), ("add_special", c.c_int32),
                ("offsets", c.c_void_p)]


class TensorInfo(c.Structure):
    _fields_ = [("size", c.c_size_t), ("name", c.c_char_p), ("type_name", c.c_char_p), ("dtype", c.c_int),
                ("rank", c.c_uint32), ("shape", c.c_uint64 * 8), ("elements", c.c_uint64), ("bytes", c.c_uint64),
                ("offset", c.c_uint64), ("file", c.c_char_p)]


# Option structs, by the name of the function that gives their defaults.
DEFAULTS = {"viva_engine_options_default": EngineOptions, "viva_checkpoint_options_default": CheckpointOptions,
            "viva_model_options_default": ModelOptions, "viva_session_options_default": SessionOptions,
            "viva_prefill_options_default": PrefillOptions, "viva_sampling_options_default": SamplingOptions,
            "viva_generate_options_default": GenerateOptions, "viva_encode_options_default": EncodeOptions}


class VivaError(Exception):
    """A failing call: .code is the status's name, .item what it is about."""

    def __init__(self, info):
        self.code = lib.viva_status_name(info.code).decode()
        self.item = info.item.decode()
        self.message = info.message.decode()
        super().__init__(f"{self.code}: {info.file.decode()}: {self.item}: {self.message}")


def _load():
    library = c.CDLL(os.environ["VIVA_LIBRARY"])
    for name, struct in DEFAULTS.items():
        getattr(library, name).restype = struct
    for name in ("viva_version", "viva_status_name", "viva_model_description"):
        getattr(library, name).restype = c.c_char_p
    for name in ("viva_model_tokenizer", "viva_tokenizer_retain"):
        getattr(library, name).restype = c.c_void_p
    for name in ("viva_session_position", "viva_session_capacity", "viva_tokenizer_vocab_size",
                 "viva_checkpoint_tensor_count"):
        getattr(library, name).restype = c.c_size_t
    for name in ("viva_engine_release", "viva_model_release", "viva_session_free", "viva_tokenizer_release",
                 "viva_checkpoint_close", "viva_generate_result_free"):
        getattr(library, name).restype = None
    return library


lib = _load()


def call(function, *arguments):
    """Calls a function that ends in a viva_error pointer."""
    info = ErrorInfo()
    if getattr(lib, function)(*arguments, c.byref(info)) != 0:
        raise VivaError(info)


def options(name, **values):
    """An option struct with its defaults, and values set over them."""
    struct = getattr(lib, name)()
    for key, value in values.items():
        if not hasattr(struct, key):
            raise TypeError(f"{name} has no member {key}")
        setattr(struct, key, value)
    return struct


def token_array(ids):
    return (c.c_int32 * len(ids))(*[int(i) for i in ids])


class Handle:
    """Owns one handle and ends it once."""

    end = None

    def __init__(self):
        self.handle = c.c_void_p()

    def close(self):
        if self.handle:
            getattr(lib, self.end)(self.handle)
            self.handle = c.c_void_p()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Engine(Handle):
    end = "viva_engine_release"

    def __init__(self, **values):
        super().__init__()
        call("viva_engine_open", c.byref(options("viva_engine_options_default", **values)), c.byref(self.handle))


class Tokenizer(Handle):
    end = "viva_tokenizer_release"

    def __init__(self, path=None, handle=None):
        super().__init__()
        if handle:
            self.handle = c.c_void_p(lib.viva_tokenizer_retain(c.c_void_p(handle)))
        else:
            call("viva_tokenizer_load", os.fsencode(path), None, c.byref(self.handle))

    def encode(self, text, match_special=0, add_special=0):
        data = text if isinstance(text, bytes) else text.encode()
        chosen = options("viva_encode_options_default", match_special=match_special, add_special=add_special)
        capacity, count = len(data) + 8, c.c_size_t()
        ids = (c.c_int32 * capacity)()
        call("viva_tokenizer_encode", self.handle, data, c.c_size_t(len(data)), c.byref(chosen), ids,
             c.c_size_t(capacity), c.byref(count))
        return list(ids[:count.value])

    def decode(self, ids):
        capacity, count = 64 * len(ids) + 64, c.c_size_t()
        text = c.create_string_buffer(capacity)
        call("viva_tokenizer_decode", self.handle, token_array(ids), c.c_size_t(len(ids)), None, text,
             c.c_size_t(capacity), c.byref(count))
        return text.raw[:count.value].decode()


class Model(Handle):
    end = "viva_model_release"

    def __init__(self, engine, path, **values):
        super().__init__()
        chosen = options("viva_model_options_default", **values)
        call("viva_model_load", engine.handle, os.fsencode(path), c.byref(chosen), c.byref(self.handle))

    def description(self):
        return lib.viva_model_description(self.handle).decode()

    def tokenizer(self):
        return Tokenizer(handle=lib.viva_model_tokenizer(self.handle))

    def generate(self, prompt, stop=(), **values):
        """viva_generate for text, viva_generate_tokens for a list of ids: (tokens, text, the struct's plain members)."""
        chosen = options("viva_generate_options_default", **values)
        if stop:
            chosen.stop_strings = (c.c_char_p * len(stop))(*[s.encode() for s in stop])
            chosen.stop_count = len(stop)
        result = c.POINTER(GenerateResult)()
        if isinstance(prompt, str):
            data = prompt.encode()
            call("viva_generate", self.handle, data, c.c_size_t(len(data)), c.byref(chosen), c.byref(result))
        else:
            call("viva_generate_tokens", self.handle, token_array(prompt), c.c_size_t(len(prompt)), c.byref(chosen),
                 c.byref(result))
        got = result.contents
        tokens, text = got.tokens[:got.token_count], got.text[:got.text_bytes].decode()
        plain = {name: getattr(got, name) for name, kind in got._fields_ if kind in (c.c_int, c.c_uint64, c.c_double)}
        lib.viva_generate_result_free(result)
        return list(tokens), text, plain


class Session(Handle):
    end = "viva_session_free"

    def __init__(self, model, **values):
        super().__init__()
        chosen = options("viva_session_options_default", **values)
        call("viva_session_create", model.handle, c.byref(chosen), c.byref(self.handle))

    def prefill(self, ids, vocab_size=0):
        """Appends ids. With vocab_size: the logits of every position, [len(ids)][vocab_size]."""
        chosen = options("viva_prefill_options_default")
        logits = np.empty((len(ids), vocab_size), np.float32) if vocab_size else None
        if vocab_size:
            chosen.all_logits, chosen.all_logits_count = logits.ctypes.data, logits.size
        call("viva_session_prefill", self.handle, token_array(ids), c.c_size_t(len(ids)), c.byref(chosen))
        return logits

    def decode(self, token):
        call("viva_session_decode", self.handle, c.c_int32(token))

    def decode_argmax(self, token):
        following = c.c_int32()
        call("viva_session_decode_argmax", self.handle, c.c_int32(token), c.byref(following))
        return following.value

    def logits_in_place(self):
        """The library's own memory: until the session's next call."""
        pointer, count = c.POINTER(c.c_float)(), c.c_size_t()
        call("viva_session_logits", self.handle, c.byref(pointer), c.byref(count))
        return np.ctypeslib.as_array(pointer, (count.value,))

    def logits(self):
        return self.logits_in_place().copy()

    def truncate(self, position):
        call("viva_session_truncate", self.handle, c.c_uint64(position))

    def position(self):
        return lib.viva_session_position(self.handle)


def sessions_decode(sessions, tokens):
    """One token of each session, in one step."""
    handles = (c.c_void_p * len(sessions))(*[session.handle.value for session in sessions])
    call("viva_sessions_decode", handles, token_array(tokens), c.c_size_t(len(sessions)))


class Checkpoint(Handle):
    end = "viva_checkpoint_close"

    def __init__(self, path):
        super().__init__()
        call("viva_checkpoint_open", os.fsencode(path), None, c.byref(self.handle))

    def tensors(self):
        """name: (type's name, shape), for every tensor."""
        found = {}
        for index in range(lib.viva_checkpoint_tensor_count(self.handle)):
            info = TensorInfo(size=c.sizeof(TensorInfo))
            call("viva_checkpoint_tensor", self.handle, c.c_size_t(index), c.byref(info))
            found[info.name.decode()] = (info.type_name.decode(), tuple(info.shape[:info.rank]))
        return found

    def read_f32(self, name, shape):
        values = np.empty(shape, np.float32)
        call("viva_checkpoint_read_f32", self.handle, name.encode(), c.c_void_p(values.ctypes.data),
             c.c_size_t(values.size))
        return values
