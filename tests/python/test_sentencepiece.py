"""tokenizer.model: written here, field by field, from Llama 2's tokenizer.json, must give that file's ids; damaged ones are
refused."""

import json
import struct

import pytest
import unicode_strings
import viva_ctypes
from test_tinyllama import tokenizer_text
from tokenizer_compare import decode, encode


def number(value):
    value &= (1 << 64) - 1
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(tag, data):
    if isinstance(data, int):
        return number(tag << 3) + number(data)
    if isinstance(data, float):
        return number(tag << 3 | 5) + struct.pack("<f", data)
    return number(tag << 3 | 2) + number(len(data)) + data


def piece(text, score, kind):
    return field(1, field(1, text.encode()) + field(2, float(score)) + (field(3, kind) if kind != 1 else b""))


def model(pieces, kind=2, charsmap=b"", prefix=1):
    trainer = field(3, kind) + field(35, 1) + field(40, 0) + field(41, 1) + field(42, 2) + field(43, -1)
    normal = field(1, b"identity") + field(2, charsmap) + field(3, prefix) + field(4, 0)
    return b"".join(piece(*p) for p in pieces) + field(2, trainer) + field(3, normal)


SMALL = [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), *((f"<0x{b:02X}>", 0, 6) for b in range(256)), ("\u2581a", -1, 1),
         ("\u2581", -2, 1), ("a", -3, 1), ("b", -4, 1), ("ab", -5, 1)]


def test_llama2(tmp_path):
    text = tokenizer_text()
    (tmp_path / "tokenizer.json").write_bytes(text)
    bpe = json.loads(text)["model"]
    vocabulary = sorted(bpe["vocab"].items(), key=lambda item: item[1])
    kinds, scores = {0: 2, 1: 3, 2: 3}, {}
    for rank, merge in enumerate(bpe["merges"]):  # a token's score is that of the merges that make it
        scores.setdefault("".join(merge.split(" ")), -rank)
    pieces = [(token, scores.get(token, -1e9), kinds.get(i, 6 if i < 259 else 1)) for token, i in vocabulary]
    folder = tmp_path / "only"
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(model(pieces))
    strings = unicode_strings.strings(77, 200, ["<s>", "</s>", "<unk>"])
    with viva_ctypes.Tokenizer(tmp_path / "tokenizer.json") as theirs:
        for path in (folder, folder / "tokenizer.model"):
            with viva_ctypes.Tokenizer(path) as ours:
                for string in ["Hello world", "The quick brown fox", "Olá mundo", *strings]:
                    ids = encode(theirs, string, 1, 1)
                    assert encode(ours, string, 1, 1) == ids, string
                    assert decode(ours, ids, 0) == decode(theirs, ids, 0)


@pytest.mark.parametrize("data, code, fragment", [
    (model(SMALL, kind=1), "VIVA_E_UNSUPPORTED", "Unigram"),
    (model(SMALL, charsmap=b"xyz"), "VIVA_E_UNSUPPORTED", "table of normalization"),
    (b"", "VIVA_E_FORMAT", "no pieces"), (b"{}", "VIVA_E_FORMAT", "wire type"), (field(1, 7), "VIVA_E_FORMAT", "another type"),
    (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "VIVA_E_FORMAT", "longer than"),
    (model([*SMALL, ("a", -9, 1)]), "VIVA_E_FORMAT", "two tokens have the text"),
    (model([*SMALL, ("x" * 5000, -9, 1)]), "VIVA_E_UNSUPPORTED", "at most 2048"),
    (model([*SMALL, ("c", float("nan"), 1)]), "VIVA_E_FORMAT", "not a number")])
def test_refused(data, code, fragment, tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(data)
    with pytest.raises(viva_ctypes.VivaError) as refused:
        viva_ctypes.Tokenizer(path)
    assert refused.value.code == code and fragment in str(refused.value)


def test_cut(tmp_path):
    """Trainer and normalizer come last: every cut before their end lacks something or is damaged."""
    whole, path = model(SMALL), tmp_path / "tokenizer.model"
    for cut in range(0, len(model(SMALL)) - 1, 7):
        path.write_bytes(whole[:cut])
        try:
            viva_ctypes.Tokenizer(path).close()
            assert cut >= whole.rindex(field(42, 2)), cut
        except viva_ctypes.VivaError as refused:
            assert refused.code in ("VIVA_E_FORMAT", "VIVA_E_UNSUPPORTED"), cut
