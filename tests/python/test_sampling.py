"""Sampling against the oracle: every candidate and every probability of 1,000 vectors, and draws one by one."""

import ctypes as c

import numpy as np
import pytest
import sampling_oracle as oracle
from viva_ctypes import call, lib, options, token_array

lib.viva_sample_scratch.restype = c.c_size_t
lib.viva_sample_uniform.restype = c.c_double


class Candidate(c.Structure):
    _fields_ = [("id", c.c_int32), ("probability", c.c_float)]


class SampleInput(c.Structure):
    _fields_ = [("size", c.c_size_t), ("logits", c.POINTER(c.c_float)), ("n", c.c_size_t), ("history", c.c_void_p),
                ("history_count", c.c_size_t), ("sequence", c.c_uint64), ("position", c.c_uint64), ("scratch", c.c_void_p),
                ("scratch_bytes", c.c_size_t)]


def pointer(logits):
    return logits.ctypes.data_as(c.POINTER(c.c_float))


def scratch_for(n):
    size = lib.viva_sample_scratch(c.c_size_t(n))
    return (c.c_uint64 * (size // 8 + 1))(), c.c_size_t(size)


def candidates(logits, history=(), **chosen):
    n, count = len(logits), c.c_size_t()
    scratch, size = scratch_for(n)
    found = (Candidate * n)()
    tokens = token_array(history)
    given = SampleInput(c.sizeof(SampleInput), pointer(logits), n, c.cast(tokens, c.c_void_p), len(history), 0, 0,
                        c.addressof(scratch), size)
    call("viva_sample_candidates", c.byref(given), c.byref(options("viva_sampling_options_default", **chosen)), found,
         c.c_size_t(n), c.byref(count))
    return [(item.id, item.probability) for item in found[:count.value]]


def sample(logits, seed, sequence, position, **chosen):
    token = c.c_int32()
    scratch, size = scratch_for(len(logits))
    given = SampleInput(c.sizeof(SampleInput), pointer(logits), len(logits), None, 0, sequence, position, c.addressof(scratch), size)
    call("viva_sample", c.byref(given), c.byref(options("viva_sampling_options_default", seed=seed, **chosen)), c.byref(token))
    return token.value


def test_candidates():
    for index in range(1000):
        logits, chosen, history = oracle.vector(index)
        expected = oracle.candidates(logits, history=history, **chosen)
        found = candidates(logits, history, **chosen)
        assert [i for i, _ in found] == [i for i, _ in expected], index
        # an FP32 probability is within 6e-8 of its double
        assert np.allclose([p for _, p in found], [p for _, p in expected], rtol=0, atol=1e-6), index


@pytest.mark.parametrize("top_k", [0, 40, 511, 512, 513, 20000])
def test_large_vocabulary(top_k):
    """Either way of ordering (a heap up to 512 candidates, else a sort), with many ties."""
    rng = np.random.default_rng(top_k)
    logits = (rng.integers(-4000, 4000, 49152) / 256).astype(np.float32)
    chosen = dict(top_k=top_k, temperature=0.9, top_p=0.97)
    expected, found = oracle.candidates(logits, **chosen), candidates(logits, **chosen)
    assert [i for i, _ in found] == [i for i, _ in expected]
    assert np.allclose([p for _, p in found], [p for _, p in expected], rtol=0, atol=1e-6)


def test_uniform():
    for seed, sequence, position in [(0, 0, 0), (42, 0, 1), (2**64 - 1, 2**63, 2**40 + 7), (1, 2**32, 2**32 - 1)]:
        found = lib.viva_sample_uniform(c.c_uint64(seed), c.c_uint64(sequence), c.c_uint64(position))
        assert found == oracle.uniform(seed, sequence, position)


def test_draws():
    rng = np.random.default_rng(1)
    for position in range(500):
        logits = rng.normal(0, 3, 200).astype(np.float32)
        chosen = dict(temperature=0.8, top_k=40, top_p=0.95)
        assert sample(logits, 42, 3, position, **chosen) == oracle.sample(logits, 42, 3, position, **chosen)


def test_argmax_and_softmax():
    rng = np.random.default_rng(2)
    for _ in range(200):
        logits = (rng.integers(-20, 20, rng.integers(1, 400)) / 4).astype(np.float32)
        token, logit = c.c_int32(), c.c_float()
        call("viva_argmax", pointer(logits), c.c_size_t(len(logits)), c.byref(token), c.byref(logit))
        assert token.value == int(np.argmax(logits)) and logit.value == logits.max()
        found = np.empty_like(logits)
        call("viva_softmax", pointer(logits), c.c_size_t(len(logits)), pointer(found))
        weights = np.exp(logits.astype(np.float64) - logits.max())
        assert np.abs(found - weights / weights.sum()).max() <= 1e-7  # one rounding to FP32
