"""Tokenizers against Hugging Face tokenizers 0.23.3, in full: every id and every byte of decoded text.

Needs the reference's packages (tokenizers, gguf). VIVA_TOKENIZERS may name a folder with NAME.tokenizer.json files of the
byte-level family (Llama 3.1, Qwen 3 ...) to compare as well; VIVA_WIKITEXT names WikiText-2's test text, which is
otherwise looked for in shared/data beside the project.
"""

import ctypes as c
import os
import random
from pathlib import Path

import pytest
import unicode_strings
import viva_ctypes
from viva_ctypes import call, lib, token_array

tokenizers = pytest.importorskip("tokenizers")
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "tokenizer"
MANY = 10000  # strings for the vocabulary of a real model
COUNT = MANY if os.environ.get("VIVA_SLOW") else 1000
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "wikitext2-test.txt"
WIKITEXT = Path(os.environ.get("VIVA_WIKITEXT") or BESIDE)


class DecodeOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("skip_special", c.c_int32)]


def encode(tokenizer, text, match_special=0, add_special=0):
    """Asks for the number first: added spaces and NFC can give more ids than the text has bytes."""
    data = text if isinstance(text, bytes) else text.encode()
    chosen, count = viva_ctypes.EncodeOptions(c.sizeof(viva_ctypes.EncodeOptions), match_special, add_special), c.c_size_t()
    lib.viva_tokenizer_encode(tokenizer.handle, data, c.c_size_t(len(data)), c.byref(chosen), None, c.c_size_t(0),
                              c.byref(count), None)
    ids = (c.c_int32 * (count.value + 1))()
    call("viva_tokenizer_encode", tokenizer.handle, data, c.c_size_t(len(data)), c.byref(chosen), ids, count, c.byref(count))
    return list(ids[:count.value])


def decode(tokenizer, ids, skip_special):
    chosen, bytes_ = DecodeOptions(c.sizeof(DecodeOptions), skip_special), c.c_size_t()
    array = token_array(ids)
    lib.viva_tokenizer_decode(tokenizer.handle, array, c.c_size_t(len(ids)), c.byref(chosen), None, c.c_size_t(0),
                              c.byref(bytes_), None)
    text = c.create_string_buffer(bytes_.value + 1)
    call("viva_tokenizer_decode", tokenizer.handle, array, c.c_size_t(len(ids)), c.byref(chosen), text, bytes_,
         c.byref(bytes_))
    return text.raw[:bytes_.value].decode()


def stream(tokenizer, ids, skip_special):
    """The pieces that the streaming decoder shows; decoding each one checks that it is whole characters."""
    decoder, text, n = c.c_void_p(), c.c_void_p(), c.c_size_t()
    chosen = DecodeOptions(c.sizeof(DecodeOptions), skip_special)
    call("viva_decoder_create", tokenizer.handle, c.byref(chosen), c.byref(decoder))
    pieces = []
    for token in ids:
        call("viva_decoder_push", decoder, c.c_int32(token), c.byref(text), c.byref(n))
        pieces.append(c.string_at(text, n.value).decode())
    call("viva_decoder_finish", decoder, c.byref(text), c.byref(n))
    pieces.append(c.string_at(text, n.value).decode())
    lib.viva_decoder_free(decoder)
    return "".join(pieces)


def compare(ours, theirs, strings, seed=3):
    rng = random.Random(seed)
    size = theirs.get_vocab_size()
    for text in strings:
        for match_special in (0, 1):
            theirs.encode_special_tokens = not match_special
            expected = theirs.encode(text, add_special_tokens=False).ids
            assert encode(ours, text, match_special=match_special) == expected, repr(text)
        theirs.encode_special_tokens = False
        assert encode(ours, text, match_special=1, add_special=1) == theirs.encode(text).ids, repr(text)
        for ids in (expected, [rng.randrange(size) for _ in range(rng.randrange(30))]):
            for skip in (0, 1):
                wanted = theirs.decode(ids, skip_special_tokens=bool(skip))
                assert decode(ours, ids, skip) == wanted, ids
                assert stream(ours, ids, skip) == wanted, ids


def added(theirs):
    return [token.content for token in theirs.get_added_tokens_decoder().values()]


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


def json_files():
    folder = os.environ.get("VIVA_TOKENIZERS")
    return sorted(Path(folder).glob("*.tokenizer.json")) if folder else []


@pytest.mark.parametrize("path", json_files(), ids=lambda path: path.name)
def test_other_vocabularies(path):
    try:
        ours = viva_ctypes.Tokenizer(path)
    except viva_ctypes.VivaError as refused:
        assert refused.code == "VIVA_E_UNSUPPORTED"
        pytest.skip(str(refused))
    theirs = tokenizers.Tokenizer.from_file(str(path))
    with ours:
        compare(ours, theirs, unicode_strings.strings(104, COUNT, added(theirs)))
        if WIKITEXT.exists():
            data = WIKITEXT.read_bytes()
            assert encode(ours, data) == theirs.encode(data.decode(), add_special_tokens=False).ids
