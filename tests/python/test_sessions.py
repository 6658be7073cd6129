"""Sessions on a real model: examples/04_many_prompts.c, twenty prompts in eight places, each text what it is alone; and what
a cache in FP8 does to the logits."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import viva_ctypes

ROOT = Path(__file__).resolve().parent.parent.parent
BEGINNING, PLACES, NEW_TOKENS = "Answer in one sentence.\n", 8, 24


def texts_of(shown):
    """Pieces are lines "NUMBER PIECE"; a piece may hold line ends. The texts by number, and the numbers as they came."""
    pieces = re.findall(r"^(\d+) (.*?)\n(?=\d+ |\Z)", shown, re.M | re.S)
    texts = {}
    for number, piece in pieces:
        texts[int(number)] = texts.get(int(number), "") + piece
    return texts, [int(number) for number, _ in pieces]


def test_many_prompts(engine, smollm2_path, program):
    example = Path(program).parent / "tests" / "example_many_prompts"
    if not example.exists():
        pytest.skip(f"{example} was not built")
    source = (ROOT / "examples/04_many_prompts.c").read_text(encoding="utf-8")
    assert len(source.splitlines()) < 80
    assert f"AT_ONCE = {PLACES}," in source and f"NEW_TOKENS = {NEW_TOKENS} " in source
    prompts = (ROOT / "tests/model/prompts.txt").read_text(encoding="utf-8")
    run = subprocess.run([example, smollm2_path, BEGINNING], input=prompts, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    texts, order = texts_of(run.stdout)
    with viva_ctypes.Model(engine, smollm2_path) as model:
        alone = {i: model.generate(BEGINNING + prompt, max_new_tokens=NEW_TOKENS)[1]
                 for i, prompt in enumerate(prompts.splitlines(), 1)}
    assert len(alone) == 20 and texts == alone
    assert "Paris" in texts[1]
    # Streaming: the first eight take turns; and the ninth begins before the last of them has ended.
    assert sorted(order[:PLACES]) == list(range(1, PLACES + 1))
    assert order.index(PLACES + 1) < max(i for i, number in enumerate(order) if number <= PLACES)


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


F16, E4M3 = 3, 14  # viva_dtype
WINDOWS, WINDOW, VOCAB = 2, 512, 49152


def test_fp8_cache(engine, smollm2_path):
    """Mean KL divergence of the next token's distribution with an FP8 cache from that with F16, over windows of WikiText-2's
    test text: at most 0.01 nats (docs/numerics.md has what it is)."""
    ids = np.load(ROOT / "tests/golden/reference/wikitext2_ids.npz")["ids"][:WINDOWS * WINDOW].astype(int)
    divergence = []
    with viva_ctypes.Model(engine, smollm2_path) as model:
        for first in range(0, len(ids), WINDOW):
            logs = []
            for kv in (F16, E4M3):
                with viva_ctypes.Session(model, capacity=WINDOW, kv=kv) as session:
                    logs.append(log_softmax(session.prefill(ids[first:first + WINDOW], vocab_size=VOCAB)))
            divergence.append((np.exp(logs[0]) * (logs[0] - logs[1])).sum(axis=1, dtype=np.float64))
    mean = float(np.mean(divergence))
    print(f"KL {mean:.5f} nats, largest of a position {np.max(divergence):.3f}")
    assert 0 < mean <= 0.01
