"""A text in parts of any size (viva_encoder) and many texts on several threads (encode_batch) give the ids and offsets of the
text encoded at once, which other tests compare with the reference. Real tokenizers where shared/tokenizers lies beside."""

import ctypes as c
import random

import pytest
import unicode_strings
import viva_ctypes
from test_tokenizer import GOLDEN, json_files, unpacked
from tokenizer_compare import Span, encode, encode_offsets
from viva_ctypes import call, lib

lib.viva_encoder_free.restype = None
SIZE = -8  # VIVA_E_SIZE
PART = 64 << 10  # of text that the encoder waits for


class Text(c.Structure):
    _fields_ = [("text", c.c_char_p), ("bytes", c.c_size_t), ("end", c.c_size_t)]


def encode_parts(tokenizer, data, sizes, match_special, add_special, with_offsets):
    """Ids, offsets, and the largest number of bytes that were kept back."""
    chosen = viva_ctypes.EncodeOptions(c.sizeof(viva_ctypes.EncodeOptions), match_special, add_special)
    encoder, ids, spans, n = c.c_void_p(), c.POINTER(c.c_int32)(), c.POINTER(Span)(), c.c_size_t()
    call("viva_encoder_create", tokenizer.handle, c.byref(chosen), c.byref(encoder))
    wanted = c.byref(spans) if with_offsets else None
    found, offsets, at, kept = [], [], 0, 0

    def take():
        found.extend(ids[:n.value])
        offsets.extend((s.begin, s.end) for s in (spans[:n.value] if with_offsets else ()))

    while at < len(data):
        part = data[at:at + next(sizes)]
        at += len(part)
        call("viva_encoder_push", encoder, part, c.c_size_t(len(part)), c.byref(ids), wanted, c.byref(n))
        take()
        if with_offsets:
            kept = max(kept, at - (offsets[-1][1] if offsets else 0))
    call("viva_encoder_finish", encoder, c.byref(ids), wanted, c.byref(n))
    take()
    lib.viva_encoder_free(encoder)
    return found, offsets, kept


def encode_batch(tokenizer, texts, threads):
    array = (Text * len(texts))(*[(t, len(t), 0) for t in texts])
    arguments = [tokenizer.handle, array, c.c_size_t(len(texts)), None, c.c_int32(threads)]
    status = lib.viva_tokenizer_encode_batch(*arguments, None, c.c_size_t(0), None)
    count = array[-1].end if texts else 0
    assert status == (SIZE if count else 0)
    ids = (c.c_int32 * (count + 1))()
    call("viva_tokenizer_encode_batch", *arguments, ids, c.c_size_t(count))
    ends = [text.end for text in array]
    return [list(ids[a:b]) for a, b in zip([0, *ends], ends)]


def text_of(seed, count):
    """Words with all that comes between them, and things that a cut must not part."""
    strings = unicode_strings.strings(seed, count, ["<s>", "</s>", "<|eot_id|>", "<|im_end|>", "<start_of_turn>", "\n\n", "▁▁"])
    rng, out = random.Random(seed), []
    for string in strings:
        out += [string, rng.choice([" ", "\n", "word ", "\nword", "e\u0301 x", "字\n字", " .\n", "s's ", "\n \n", "\u3000a"])]
    data = "".join(out).encode()
    return data[:len(data) // 2] + b"\xff\xe4\xb8 broken \xe4" + data[len(data) // 2:]


def check(ours, data, kept_most=None):
    rng = random.Random(7)
    for match_special, add_special in ((0, 0), (1, 1)):
        ids, spans = encode_offsets(ours, data, match_special, add_special)
        sizes = iter(lambda: rng.choice([1, 4096, 50000, 70000]), None)
        found, offsets, kept = encode_parts(ours, data, sizes, match_special, add_special, True)
        assert found == ids and offsets == spans
        assert encode_parts(ours, data, sizes, match_special, add_special, False)[0] == ids
        assert kept_most is None or kept <= kept_most


@pytest.mark.parametrize("name", ["small.json", "small_nfc.json"])
def test_small(name):
    with viva_ctypes.Tokenizer(GOLDEN / name) as ours:
        check(ours, (text_of(401, 300) * 8)[:400000])


@pytest.mark.parametrize("path", json_files(), ids=lambda path: path.name)
def test_real(path, tmp_path):
    with viva_ctypes.Tokenizer(unpacked(path, tmp_path)) as ours:
        data = (text_of(402, 200) * 6)[:250000]
        check(ours, data, 4 * PART)
        texts = [*data.splitlines(keepends=True), b"", b"a" * 1000]
        expected = [encode(ours, text) for text in texts]
        for threads in (1, 2, 3):
            assert encode_batch(ours, texts, threads) == expected


def test_batch_of_nothing():
    with viva_ctypes.Tokenizer(GOLDEN / "small.json") as ours:
        assert encode_batch(ours, [], 2) == [] and encode_batch(ours, [b"", b""], 2) == [[], []]
        with pytest.raises(viva_ctypes.VivaError, match="threads can be"):
            call("viva_tokenizer_encode_batch", ours.handle, None, c.c_size_t(0), None, c.c_int32(-1), None, c.c_size_t(0))
