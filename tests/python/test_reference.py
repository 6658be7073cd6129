"""viva against Hugging Face transformers 5.23 in FP32 (tests/golden/reference, made by tools/make_reference.py and
tools/make_small_models.py)."""

import contextlib
import hashlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import small_models
import viva_ctypes as viva

GOLDEN = small_models.GOLDEN

# Both sides sum in FP32, in different orders: on SmolLM2, logits of up to 40 come out 1e-4 apart. A wrong rotation, mask
# or rounding changes them by whole units.
LOGITS = 1e-3
# Where the reference's own two best logits are closer than this, either may win; the reference's token is then forced.
CLOSE = 1e-3


def read_json(name):
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def greedy(session, ids, row):
    """Follows row's tokens; returns the steps at which viva chose another one although the reference was decided."""
    session.prefill(ids[:-1]) if len(ids) > 1 else None
    close, wrong, last = {step for step, _ in row["close"]}, [], ids[-1]
    for step, expected in enumerate(row["tokens"]):
        chosen = session.decode_argmax(last)
        if chosen != expected and step not in close:
            wrong.append((step, chosen, expected))
        last = expected
    return wrong


def greedy_together(sessions, rows):
    """greedy of each row in its session, one token of all in a step: the rows of a step have the bits of single calls."""
    for session, row in zip(sessions, rows):
        session.prefill(row["ids"][:-1])
    last, wrong = [row["ids"][-1] for row in rows], []
    for step in range(len(rows[0]["tokens"])):
        viva.sessions_decode(sessions, last)
        last = [row["tokens"][step] for row in rows]
        chosen = [int(session.logits_in_place().argmax()) for session in sessions]
        wrong += [(number, step, chosen[number], expected) for number, expected in enumerate(last)
                  if chosen[number] != expected and step not in {step for step, _ in rows[number]["close"]}]
    return wrong


# ---- SmolLM2 ----------------------------------------------------------------------------------------------------------

def check_logits(model, number):
    golden = np.load(GOLDEN / "smollm2_logits.npz")
    ids = golden[f"ids{number}"].astype(int)
    rows = np.arange(len(ids))[:, None]
    with viva.Session(model, capacity=len(ids)) as session:
        logits = session.prefill(ids, vocab_size=49152)
    assert np.abs(logits[rows, golden[f"top_ids{number}"]] - golden[f"top{number}"]).max() <= LOGITS
    assert np.abs(logits[:, golden["sampled_ids"]] - golden[f"sampled{number}"]).max() <= LOGITS
    wide = logits.astype(np.float64)
    peak = wide.max(axis=1)
    total = peak + np.log(np.exp(wide - peak[:, None]).sum(axis=1))  # of all logits: none may be far off
    assert np.abs(total - golden[f"logsumexp{number}"]).max() <= LOGITS


@pytest.mark.parametrize("number", range(12))
def test_smollm2_logits(smollm2, number):
    check_logits(smollm2, number)


@pytest.fixture(scope="module", params=["REFERENCE", "AVX2"])
def smollm2_forced(request, smollm2_path):
    """SmolLM2 with one table of kernels; the fixture smollm2 takes the best that this processor has."""
    try:
        forced = viva.Engine(kernels=getattr(viva, request.param))
    except viva.VivaError as refused:
        if refused.code != "VIVA_E_UNSUPPORTED":
            raise
        pytest.skip(str(refused))
    with forced, viva.Model(forced, smollm2_path, weights=b"f32", kv=viva.F32, context=64) as model:
        yield model


@pytest.mark.parametrize("number", [6, 11])
def test_smollm2_logits_of_every_kernel(smollm2_forced, number):
    check_logits(smollm2_forced, number)


CHUNKS = (0, 1, 7, 64, 741)  # 0: the default
# Every number of threads and every chunk twice; all pairs with VIVA_SLOW.
FEW_PAIRS = {1: (0, 7), 2: (1, 741), 3: (7, 64, 741), 7: (0, 1, 64)}


@pytest.mark.parametrize("pairs", [FEW_PAIRS, pytest.param(dict.fromkeys(FEW_PAIRS, CHUNKS), marks=pytest.mark.slow)],
                         ids=["few", "all"])
def test_smollm2_bits_do_not_depend_on_chunks_or_threads(smollm2_path, pairs):
    """The logits of all 741 positions, and of 96 where chunks of one token would take long."""
    ids = np.load(GOLDEN / "smollm2_logits.npz")["ids0"].astype(int)
    assert len(ids) == CHUNKS[-1]
    full, begin = set(), set()
    for threads, chunks in pairs.items():
        with viva.Engine(threads=threads) as engine, viva.Model(engine, smollm2_path, context=1024) as model:
            for chunk in chunks:
                some = ids[:96] if chunk == 1 else ids
                with viva.Session(model, capacity=len(ids), prefill_chunk=chunk) as session:
                    logits = session.prefill(some, vocab_size=49152)
                    assert session.logits().tobytes() == logits[-1].tobytes()
                begin.add(hashlib.sha256(logits[:96]).digest())
                if len(some) == len(ids):
                    full.add(hashlib.sha256(logits).digest())
    assert len(full) == 1
    assert len(begin) == 1


def test_smollm2_has_a_long_prompt():
    golden = np.load(GOLDEN / "smollm2_logits.npz")
    assert max(len(golden[f"ids{number}"]) for number in range(12)) >= 512


def greedy_row(number):
    row = read_json("smollm2_greedy.json")[f"prompt{number}"]
    assert len(row["ids"]) > 1 and len(row["tokens"]) == 512
    assert all(margin < CLOSE for _, margin in row["close"])
    return row


def test_smollm2_greedy(smollm2):
    """512 tokens after each of 16 prompts."""
    rows = [greedy_row(number) for number in range(16)]
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(viva.Session(smollm2, capacity=len(row["ids"]) + 512)) for row in rows]
        assert greedy_together(sessions, rows) == []


@pytest.mark.parametrize("number", [0] + [pytest.param(number, marks=pytest.mark.slow) for number in range(1, 16)])
def test_smollm2_greedy_alone(smollm2, number):
    row = greedy_row(number)
    with viva.Session(smollm2, capacity=len(row["ids"]) + 512) as session:
        assert greedy(session, row["ids"], row) == []


def test_smollm2_prompts_have_these_ids(smollm2):
    golden = read_json("smollm2_greedy.json")
    with smollm2.tokenizer() as tokenizer:
        for number in range(16):
            row = golden[f"prompt{number}"]
            assert tokenizer.encode(row["text"], match_special=1) == row["ids"]


def perplexity(program, model, text, *more):
    command = [program, "perplexity", "-m", str(model), "-f", str(text), "-c", "512", "--no-bos", "--weights", "f32",
               "--kv", "f32", "--json", *more]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def expected_perplexity(golden, windows):
    scored = windows * (golden["window"] - golden["first_scored"])
    return float(np.exp(sum(golden["window_nll"][:windows]) / scored)), scored


@pytest.mark.parametrize("windows", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_smollm2_perplexity(program, smollm2_path, tmp_path, windows):
    """The first windows of WikiText-2's test text, which come from committed ids."""
    golden = read_json("smollm2_perplexity.json")
    ids = np.load(GOLDEN / "wikitext2_ids.npz")["ids"]
    with viva.Tokenizer(smollm2_path) as tokenizer:
        (tmp_path / "text").write_text(tokenizer.decode(ids), encoding="utf-8", newline="")
    got = perplexity(program, smollm2_path, tmp_path / "text", "--chunks", str(windows))
    expected, scored = expected_perplexity(golden, windows)
    assert got["scored_tokens"] == scored
    assert abs(got["perplexity"] / expected - 1) <= 2e-4


@pytest.mark.slow
def test_smollm2_perplexity_of_the_whole_text(program, smollm2_path):
    text = os.environ.get("VIVA_WIKITEXT")
    if not text:
        pytest.skip("VIVA_WIKITEXT does not name WikiText-2's test text")
    golden = read_json("smollm2_perplexity.json")
    windows = golden["scored_windows"]
    got = perplexity(program, smollm2_path, text, "--chunks", str(windows))
    expected, scored = expected_perplexity(golden, windows)
    assert got["scored_tokens"] == scored
    assert abs(got["perplexity"] / expected - 1) <= 2e-4


# ---- random small models ----------------------------------------------------------------------------------------------

SMALL = small_models.manifest()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    return {name: small_models.write(row, root / name) for name, row in SMALL.items()}


@pytest.mark.parametrize("name", SMALL)
def test_small_model(engine, folders, name):
    row = SMALL[name]
    expected = np.load(GOLDEN / "small_models.npz")[name]
    with viva.Model(engine, folders[name], kv=viva.F32, context=row["capacity"]) as model:
        with viva.Session(model) as session:
            logits = session.prefill(row["ids"], vocab_size=expected.shape[1])
            assert np.abs(logits - expected).max() <= LOGITS
            session.truncate(0)
            assert greedy(session, row["ids"], row) == []


@pytest.mark.parametrize("name", ["tinyllama", "mistral_window", "qwen3"])
def test_small_model_bits_do_not_depend_on_chunks_or_threads(folders, name):
    row, found = SMALL[name], []
    for threads in (1, 2, 3, 7):
        with viva.Engine(threads=threads) as engine, viva.Model(engine, folders[name], context=row["capacity"]) as model:
            for chunk in (1, 7, 64):
                with viva.Session(model, prefill_chunk=chunk) as session:
                    found.append(session.prefill(row["ids"], vocab_size=256).tobytes())
    assert len(set(found)) == 1


# ---- the same model as a folder ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype, weights", [("BF16", None), ("F32", b"f32")])
def test_smollm2_folder_is_the_gguf(engine, smollm2_path, tmp_path, dtype, weights):
    """SmolLM2 as config.json, tokenizer.json and safetensors gives the bits and the text of the GGUF file."""
    import gguf_folder
    folder = gguf_folder.write(smollm2_path, tmp_path / "folder", dtype)
    prompt = read_json("smollm2_greedy.json")["prompt3"]
    outputs = []
    for path in (smollm2_path, folder):
        with viva.Model(engine, path, weights=weights, context=512) as model:
            with viva.Session(model) as session:
                session.prefill(prompt["ids"])
                logits = session.logits().tobytes()
            outputs.append((logits, *model.generate(prompt["text"], max_new_tokens=64)[:2]))
    for path in Path(folder).iterdir():
        path.unlink()  # half a gigabyte
    assert outputs[0] == outputs[1]
    assert outputs[0][2] != ""
