"""Texts that are hard on a tokenizer (hard_texts.py) against Hugging Face tokenizers 0.23.3: long pieces, runs, noise, bytes that
are no UTF-8, and tokens joined, which are merged in ways of their own."""

import random

import hard_texts
import pytest
import viva_ctypes
from test_tokenizer import WIKITEXT, json_files, unpacked
from tokenizer_compare import compare, decode, encode

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers  # noqa: E402

BYTES = 20000
ENGLISH = b"The runs of one letter are what a tokenizer sees seldom, and so nobody looks at what they cost. " * 40


def token_bytes(ours, theirs):
    """What each token stands for, as far as it decodes to text."""
    texts = [decode(ours, [i], 0) for i in range(theirs.get_vocab_size())]
    return [text.encode() for text in texts if text and "\ufffd" not in text]


def check(ours, theirs, seed):
    english = WIKITEXT.read_bytes()[:BYTES] if WIKITEXT.exists() else ENGLISH
    tokens = token_bytes(ours, theirs)
    theirs.encode_special_tokens = True
    for name, make in hard_texts.KINDS.items():
        data = make(random.Random(seed), BYTES, tokens, english)
        expected = theirs.encode(data.decode(errors="replace"), add_special_tokens=False).ids
        assert encode(ours, data) == expected, name


@pytest.mark.parametrize("path", json_files(), ids=lambda path: path.name)
def test_real(path, tmp_path):
    path = unpacked(path, tmp_path)
    theirs = Tokenizer.from_file(str(path))
    with viva_ctypes.Tokenizer(path) as ours:
        check(ours, theirs, 1)


@pytest.mark.parametrize("size, cuts", [(300, False), (2000, False), (2000, True)])
def test_small(size, cuts, tmp_path):
    """Vocabularies of which merges meet in many ways: trained on the texts themselves."""
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cuts)
    rng = random.Random(size)
    texts = [make(rng, 3000, [b"ab", b"the"], ENGLISH).decode(errors="replace") for make in hard_texts.KINDS.values()]
    theirs.train_from_iterator(
        [text[i:i + 60] for text in texts for i in range(0, len(text), 60)],
        trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    theirs.save(str(tmp_path / "tokenizer.json"))
    with viva_ctypes.Tokenizer(tmp_path / "tokenizer.json") as ours:
        check(ours, theirs, size)


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_long_forms(form, tmp_path):
    """Marked characters without an end: normal forms are written stretch by stretch. Ids and offsets."""
    theirs = Tokenizer(models.BPE({chr(i): i for i in range(32, 127)} | {f"<0x{i:02X}>": 200 + i for i in range(256)}, [],
                                  byte_fallback=True))
    theirs.normalizer = getattr(normalizers, form)()
    theirs.save(str(tmp_path / "tokenizer.json"))
    kinds = ["what NFC takes apart", "marks in any order", "one stack of marks", "scripts in turn"]
    texts = [hard_texts.KINDS[kind](random.Random(7), BYTES, [], b"").decode(errors="ignore") for kind in kinds]
    texts += ["".join(random.Random(8).choices(hard_texts.APART + hard_texts.MARKS + "\uac00\u1161\u11a8\u1100\ufdfa\u09be\u09c7", k=BYTES))]
    with viva_ctypes.Tokenizer(tmp_path / "tokenizer.json") as ours:
        compare(ours, theirs, texts, decodes=False)
