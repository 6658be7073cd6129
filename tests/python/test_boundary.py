"""docs/guide-boundary.md, proved by boundary_client.py: ownership, lifetimes, errors, threads."""

import gc
import threading
from pathlib import Path

import boundary_client as viva
import numpy as np
import pytest

rng = np.random.default_rng(5)


def array(*shape):
    return rng.standard_normal(shape, np.float32)


def test_the_client_is_short():
    assert len(Path(viva.__file__).read_text(encoding="utf-8").splitlines()) <= 200


def test_a_product_equals_numpys_on_the_unpacked_weight():
    engine = viva.Engine()
    w, x = array(24, 100), array(2, 3, 100)
    for weight in (engine.prepack_fp8(w), engine.prepack_fp8(w, 16), engine.prepack_nvfp4(w)):
        exact = x.astype(np.float64) @ weight.unpack().astype(np.float64).T
        bound = 2.0**-20 * (np.abs(x).astype(np.float64) @ np.abs(weight.unpack()).astype(np.float64).T)  # viva/linear.h
        assert (np.abs(weight.linear(x, viva.ACT_16) - exact) <= bound).all()
        quantised = weight.linear(x, viva.ACT_FP8)
        # E4M3 rounds by 2^-4 at most, of inputs that are at least absmax · 2^-15
        assert (np.abs(quantised - exact) <= 0.08 * (np.abs(x) @ np.abs(weight.unpack()).T)).all()
        assert not np.array_equal(quantised, weight.linear(x, viva.ACT_16))


def test_a_transposed_view_packs_the_same_bytes():
    engine = viva.Engine()
    w = array(40, 64)
    assert np.array_equal(engine.prepack_fp8(np.ascontiguousarray(w.T).T).unpack(), engine.prepack_fp8(w).unpack())


def test_finalizers_give_everything_back():
    engine = viva.Engine()
    before = engine.bytes_held()
    for _ in range(20):
        engine.prepack_fp8(array(32, 64)).linear(array(1, 64))
    gc.collect()
    assert engine.bytes_held() == before
    assert not viva._wrapped


def test_the_engine_may_go_first():
    engine = viva.Engine()
    w, x = array(16, 32), array(4, 32)
    weight = engine.prepack_fp8(w)
    x_tensor = viva.tensor(engine, x)
    engine.close()
    assert weight.unpack().shape == (16, 32)
    weight.close()
    x_tensor.close()
    assert not viva._wrapped


def test_many_threads_share_a_weight():
    engine = viva.Engine()
    weight, x = engine.prepack_fp8(array(64, 96)), array(5, 96)
    want, failures = weight.linear(x), []

    def work():
        for _ in range(50):
            if not np.array_equal(weight.linear(x), want):
                failures.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_errors_say_what_and_where():
    engine = viva.Engine()
    weight = engine.prepack_fp8(array(16, 32))
    with pytest.raises(viva.VivaError, match="31"):
        weight.linear(array(4, 31))
    bad = array(8, 16)
    bad[3, 7] = np.nan
    with pytest.raises(viva.VivaError, match="3.*7"):
        engine.prepack_fp8(bad)
    with pytest.raises(viva.VivaError, match="block"):
        engine.prepack_fp8(array(8, 16), 17)


def test_load_and_generate(smollm2_path):
    engine = viva.Engine()
    model = engine.load(smollm2_path, "fp8")
    engine.close()
    assert "Paris" in model.generate("The capital of France is", 12)
    with pytest.raises(viva.VivaError, match="no-such"):
        viva.Engine().load("no-such-model.gguf")
