"""viva's .npy and .npz against NumPy's: each reads what the other writes."""

import ctypes as c
import io
import itertools

import numpy as np
import pytest

from viva_ctypes import TensorInfo, VivaError, call, lib

lib.viva_npy_count.restype = c.c_size_t
lib.viva_npy_close.restype = None

TYPES = {"f8": 1, "f4": 2, "f2": 3, "i8": 5, "i4": 6, "i2": 7, "i1": 8, "u8": 9, "u4": 10, "u2": 11, "u1": 12, "b1": 13,
         "c8": 22}
SHAPES = [(), (0,), (1,), (7,), (2, 3), (3, 0, 2), (2, 3, 4), (1, 2, 1, 3, 2, 1, 2, 2)]


class TensorData(c.Structure):
    _fields_ = [("name", c.c_char_p), ("dtype", c.c_int), ("rank", c.c_uint32), ("shape", c.c_uint64 * 8),
                ("data", c.c_void_p), ("bytes", c.c_size_t)]


def sample(word, shape, seed=0):
    raw = np.random.default_rng(seed).integers(0, 255, int(np.prod(shape)) * np.dtype(word).itemsize, np.uint8)
    array = raw.view(np.dtype(word)).reshape(shape)
    return np.array(array.view(np.uint8) & 1, bool).reshape(shape) if word == "b1" else array


def read(path):
    """{name: array} as viva reads the file."""
    handle = c.c_void_p()
    call("viva_npy_open", str(path).encode(), None, c.byref(handle))
    try:
        found = {}
        for i in range(lib.viva_npy_count(handle)):
            info = TensorInfo(size=c.sizeof(TensorInfo))
            call("viva_npy_info", handle, c.c_size_t(i), c.byref(info))
            word = next(w for w, d in TYPES.items() if d == info.dtype)
            array = np.empty(tuple(info.shape[:info.rank]), word)
            assert array.nbytes == info.bytes and array.size == info.elements
            call("viva_npy_read", handle, c.c_size_t(i), c.c_void_p(array.ctypes.data), c.c_size_t(array.nbytes))
            found[info.name.decode()] = array
        return found
    finally:
        lib.viva_npy_close(handle)


def as_data(name, array):
    shape = (c.c_uint64 * 8)(*array.shape)
    return TensorData(name.encode(), TYPES[array.dtype.str[1:]], array.ndim, shape, array.ctypes.data, array.nbytes)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("word", TYPES)
def test_npy(word, tmp_path):
    for shape in SHAPES:
        array = sample(word, shape)
        np.save(tmp_path / "a.npy", array)
        assert same(read(tmp_path / "a.npy")[""], array)
        call("viva_npy_write", str(tmp_path / "b.npy").encode(), c.byref(as_data("", array)), None)
        assert (tmp_path / "b.npy").read_bytes() == (tmp_path / "a.npy").read_bytes()
        for other in (np.array(array, order="F"), array.astype(array.dtype.newbyteorder(">"))):
            np.save(tmp_path / "c.npy", other)
            assert same(read(tmp_path / "c.npy")[""], array), (shape, other.dtype)


@pytest.mark.parametrize("version", [(2, 0), (3, 0)])
def test_versions(version, tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, sample("f4", (2, 3)), version)
    assert same(read(tmp_path / "a.npy")[""], sample("f4", (2, 3)))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_read(save, tmp_path):
    arrays = {f"{word}/{i}": sample(word, shape, i) for word, (i, shape) in itertools.product(TYPES, enumerate(SHAPES))}
    arrays["long"] = np.arange(300_000, dtype=np.float32) % 1000  # more than a deflate window; compresses
    arrays["noise"] = sample("f8", (20_000,))  # does not
    arrays["columns"] = np.asfortranarray(sample("i4", (40, 50)))
    save(tmp_path / "a.npz", **arrays)
    found = read(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert same(found[name], np.ascontiguousarray(array).reshape(array.shape)), name


def test_npz_write(tmp_path):
    arrays = {f"{word}.{i}": sample(word, shape, i) for word, (i, shape) in itertools.product(TYPES, enumerate(SHAPES))}
    arrays["gewicht_ä"] = sample("f4", (5,))
    items = (TensorData * len(arrays))(*[as_data(name, array) for name, array in arrays.items()])
    call("viva_npz_write", str(tmp_path / "a.npz").encode(), items, c.c_size_t(len(arrays)), None)
    with np.load(tmp_path / "a.npz") as found:
        assert found.files == list(arrays)
        for name, array in arrays.items():
            assert same(found[name], array), name


def test_what_numpy_writes_and_viva_refuses(tmp_path):
    for array, word in ((np.array(["a"]), "<U1"), (np.array([(1, 2.0)], "i4,f4"), "records"),
                        (np.array([None]), "|O"), (np.array(["2020-01-01"], "M8[D]"), "M8")):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(VivaError, match=word.replace("|", r"\|")) as refused:
            read(tmp_path / "a.npy")
        assert refused.value.code == "VIVA_E_UNSUPPORTED"


def test_damaged_compressed_members(tmp_path):
    whole = io.BytesIO()
    np.savez_compressed(whole, a=np.arange(2000, dtype=np.int32))
    whole = whole.getvalue()
    expected = np.arange(2000, dtype=np.int32)
    for at in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        (tmp_path / "a.npz").write_bytes(changed)
        try:
            found = read(tmp_path / "a.npz")
        except VivaError:
            continue
        assert all(same(array, expected) for array in found.values()), at
