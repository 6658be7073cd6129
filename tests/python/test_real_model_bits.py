"""SmolLM2 gives the same bits however the work is cut, and transformers' logits with every kernel table."""

import hashlib

import numpy as np
import pytest
import small_models
import viva_ctypes as viva

GOLDEN = small_models.GOLDEN
VOCAB = 49152
AUTO, REFERENCE, AVX2, AVX512 = range(4)
LOGITS = 1e-3  # as in test_reference.py: FP32 sums in different orders come out 1e-4 apart


def long_prompt():
    golden = np.load(GOLDEN / "smollm2_logits.npz")
    prompts = [golden[name].astype(int) for name in golden.files if name.startswith("ids")]
    return max(prompts, key=len)[:520]


def bits(model, ids, chunk):
    """A hash of the logits of every position."""
    with viva.Session(model, capacity=len(ids), prefill_chunk=chunk) as session:
        return hashlib.sha256(session.prefill(ids, vocab_size=VOCAB).tobytes()).hexdigest()


def test_bits_do_not_depend_on_threads_or_chunks(smollm2_path):
    ids, found, short = long_prompt(), {}, {}
    assert len(ids) >= 512
    for threads in (1, 2, 3, 7):
        with viva.Engine(threads=threads) as engine, viva.Model(engine, smollm2_path, context=1024) as model:
            for chunk in (0, 7, 64, len(ids)) if threads == 2 else (0,):
                found[threads, chunk] = bits(model, ids, chunk)
            for chunk in (1, 64) if threads in (1, 2) else (1,):
                short[threads, chunk] = bits(model, ids[:48], chunk)
    assert len(set(found.values())) == 1, found
    assert len(set(short.values())) == 1, short


@pytest.mark.parametrize("kernels", [REFERENCE, AVX2, AVX512])
def test_every_kernel_table_gives_the_references_logits(smollm2_path, kernels):
    golden = np.load(GOLDEN / "smollm2_logits.npz")
    numbers = range(sum(name.startswith("ids") for name in golden.files))
    number = min(numbers, key=lambda n: len(golden[f"ids{n}"]))  # the plain C table is slow
    ids = golden[f"ids{number}"].astype(int)
    try:
        engine = viva.Engine(kernels=kernels)
    except viva.VivaError as error:
        assert error.code == "VIVA_E_UNSUPPORTED" and kernels != REFERENCE
        pytest.skip(error.message)
    with engine, viva.Model(engine, smollm2_path, weights=b"f32", kv=viva.F32, context=1024) as model:
        with viva.Session(model, capacity=len(ids)) as session:
            logits = session.prefill(ids, vocab_size=VOCAB)
    rows = np.arange(len(ids))[:, None]
    assert np.abs(logits[rows, golden[f"top_ids{number}"]] - golden[f"top{number}"]).max() <= LOGITS
    assert np.abs(logits[:, golden["sampled_ids"]] - golden[f"sampled{number}"]).max() <= LOGITS
