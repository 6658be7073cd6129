"""SmolLM2 held in packed formats, against itself in FP32."""

import json

import numpy as np
import pytest
import small_models
import viva_ctypes as viva

VOCAB = 49152
ACT_16, ACT_FP8, ACT_INT8 = 1, 2, 3


@pytest.fixture(scope="module")
def prompts():
    golden = json.loads((small_models.GOLDEN / "smollm2_greedy.json").read_text(encoding="utf-8"))
    return [golden[f"prompt{number}"]["ids"] for number in range(16)]


def last_logits(model, prompts):
    """The logits that follow each prompt."""
    found = []
    for ids in prompts:
        with viva.Session(model, capacity=len(ids)) as session:
            session.prefill(ids)
            found.append(np.array(session.logits(), np.float32))
    return np.stack(found)


@pytest.fixture(scope="module")
def exact(smollm2, prompts):
    return last_logits(smollm2, prompts)


def packed_logits(engine, path, prompts, weights, act):
    with viva.Model(engine, path, weights=weights.encode(), act=act, context=512) as model:
        return last_logits(model, prompts)


def test_fp8_b16_keeps_the_first_token(engine, smollm2_path, prompts, exact):
    """With 16-bit activations the first token is FP32's, unless FP32's own two best are closer than the largest error;
    measured: 15 of 16, with scales for whole channels 14. The largest error of a logit is 1.91, where a channel's scales
    give 3.83: the bound of 2.9 lies between the two, so that it fails when the blocks' scales do not count."""
    found = packed_logits(engine, smollm2_path, prompts, "fp8-b16", ACT_16)
    channels = packed_logits(engine, smollm2_path, prompts, "fp8", ACT_16)
    errors = np.abs(found - exact).max(1)
    second, first = np.sort(exact)[:, -2:].T
    same = found.argmax(1) == exact.argmax(1)
    assert errors.max() <= 2.9
    assert (same | (first - second < errors)).all()
    assert same.sum() >= 15
    assert same.sum() >= (channels.argmax(1) == exact.argmax(1)).sum()


# The mean divergence of the next token's distribution from FP32's, in nats, over the 16 prompts: about twice what was
# measured, so that a wrong scale, row or mode fails (which gives whole nats) and another processor's sums do not. 2:4
# pruning without training has no such bound: its logits must be numbers.
@pytest.mark.parametrize("weights, act, most", [
    ("fp8", ACT_16, 0.15), ("fp8", ACT_FP8, 0.25), ("fp8", ACT_INT8, 0.3), ("fp8-b16", ACT_16, 0.025),
    ("fp8-b32:f16", ACT_16, 0.04), ("fp8-b128:e8m0", ACT_16, 0.15), ("nvfp4", ACT_16, 0.8), ("nvfp4", ACT_FP8, 0.8),
    ("fp8,mlp.down_proj=bf16,layers.0-1=bf16", ACT_16, 0.15), ("int8-24", ACT_16, None), ("int4-24", ACT_INT8, None),
])
def test_distributions_stay_close(engine, smollm2_path, prompts, exact, weights, act, most):
    found = packed_logits(engine, smollm2_path, prompts, weights, act).astype(np.float64)
    assert np.isfinite(found).all()
    expected = exact.astype(np.float64)
    p = expected - expected.max(1, keepdims=True)
    q = found - found.max(1, keepdims=True)
    p -= np.log(np.exp(p).sum(1, keepdims=True))
    q -= np.log(np.exp(q).sum(1, keepdims=True))
    divergence = (np.exp(p) * (p - q)).sum(1).mean()
    print(weights, act, divergence, (p.argmax(1) == q.argmax(1)).mean())
    if most is not None:
        assert divergence <= most
