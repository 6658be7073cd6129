"""Asks viva and Hugging Face tokenizers the same about a text: ids, offsets, decoded text, streamed text."""

import ctypes as c
import random

import viva_ctypes
from viva_ctypes import call, lib, token_array


class Span(c.Structure):
    _fields_ = [("begin", c.c_size_t), ("end", c.c_size_t)]


class DecodeOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("skip_special", c.c_int32)]


def encode(tokenizer, text, match_special=0, add_special=0):
    """Asks for the number first: added spaces, affixes and NFKD can give more ids than the text has bytes."""
    data = text if isinstance(text, bytes) else text.encode()
    chosen, count = viva_ctypes.EncodeOptions(c.sizeof(viva_ctypes.EncodeOptions), match_special, add_special), c.c_size_t()
    lib.viva_tokenizer_encode(tokenizer.handle, data, c.c_size_t(len(data)), c.byref(chosen), None, c.c_size_t(0),
                              c.byref(count), None)
    ids = (c.c_int32 * (count.value + 1))()
    call("viva_tokenizer_encode", tokenizer.handle, data, c.c_size_t(len(data)), c.byref(chosen), ids, count, c.byref(count))
    return list(ids[:count.value])


def encode_offsets(tokenizer, text, match_special=0, add_special=0):
    """Ids and, for each, its range of bytes."""
    data = text if isinstance(text, bytes) else text.encode()
    chosen, count = viva_ctypes.EncodeOptions(c.sizeof(viva_ctypes.EncodeOptions), match_special, add_special), c.c_size_t()
    lib.viva_tokenizer_encode(tokenizer.handle, data, c.c_size_t(len(data)), c.byref(chosen), None, c.c_size_t(0),
                              c.byref(count), None)
    ids, spans = (c.c_int32 * (count.value + 1))(), (Span * (count.value + 1))()
    chosen.offsets = c.addressof(spans)
    call("viva_tokenizer_encode", tokenizer.handle, data, c.c_size_t(len(data)), c.byref(chosen), ids, count, c.byref(count))
    return list(ids[:count.value]), [(s.begin, s.end) for s in spans[:count.value]]


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
        pieces.append(c.string_at(text, n.value).decode() if n.value else "")
    call("viva_decoder_finish", decoder, c.byref(text), c.byref(n))
    pieces.append(c.string_at(text, n.value).decode() if n.value else "")
    lib.viva_decoder_free(decoder)
    return "".join(pieces)


def characters(text):
    """From bytes to characters: the reference's Python counts characters."""
    place, at = {}, 0
    for i, character in enumerate(text):
        place[at] = i
        at += len(character.encode())
    place[at] = len(text)
    return place


def added(theirs):
    return [token.content for token in theirs.get_added_tokens_decoder().values()]


def compare(ours, theirs, strings, seed=3, decodes=True):
    rng = random.Random(seed)
    size = theirs.get_vocab_size()
    for text in strings:
        place = characters(text)
        for match_special, add_special in ((0, 0), (1, 0), (1, 1)):
            theirs.encode_special_tokens = not match_special
            expected = theirs.encode(text, add_special_tokens=bool(add_special))
            ids, spans = encode_offsets(ours, text, match_special, add_special)
            assert encode(ours, text, match_special, add_special) == expected.ids, repr(text)
            assert ids == expected.ids, repr(text)
            assert [(place.get(a), place.get(b)) for a, b in spans] == expected.offsets, repr(text)
        theirs.encode_special_tokens = False
        for ids in (expected.ids, [rng.randrange(size) for _ in range(rng.randrange(30))]) if decodes else ():
            for skip in (0, 1):
                wanted = theirs.decode(ids, skip_special_tokens=bool(skip))
                assert decode(ours, ids, skip) == wanted, ids
                assert stream(ours, ids, skip) == wanted, ids


def compare_many(ours, theirs, strings):
    """One of the three ways for each string in turn: ids both ways, offsets, and the text that its ids give."""
    for number, text in enumerate(strings):
        match_special, add_special = ((0, 0), (1, 0), (1, 1))[number % 3]
        theirs.encode_special_tokens = not match_special
        expected = theirs.encode(text, add_special_tokens=bool(add_special))
        ids, spans = encode_offsets(ours, text, match_special, add_special)
        assert ids == expected.ids, repr(text)
        assert encode(ours, text, match_special, add_special) == expected.ids, repr(text)
        place = characters(text)
        assert [(place.get(a), place.get(b)) for a, b in spans] == expected.offsets, repr(text)
        skip = number // 3 % 2
        assert decode(ours, ids, skip) == theirs.decode(expected.ids, skip_special_tokens=bool(skip)), repr(text)
