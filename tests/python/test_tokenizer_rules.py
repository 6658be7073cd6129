"""Every rule of a tokenizer.json against Hugging Face tokenizers 0.23.3: ids, offsets and decoded text of small tokenizers,
one for each way to set each component. The vocabularies are made here, so no file of a model is needed."""

import json
import os

import pytest
import unicode_strings
import viva_ctypes
from tokenizer_compare import added, compare

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers  # noqa: E402

COUNT = 2000 if os.environ.get("VIVA_SLOW") else 20
MARK = "\u2581"
CORPUS = [" ".join(unicode_strings.WORDS), "the theme there then that this hello hello world worlds 123 1234 the end",
          "Mixed CASE Words, don't stop! can't won't they'll (see: http://x.y/z?a=1&b=2) -- naïve façade"] * 20
ADDED = [AddedToken("<s>", special=True, normalized=False), AddedToken("</s>", special=True, normalized=False),
         AddedToken("<|l|>", lstrip=True, normalized=False), AddedToken("<|r|>", rstrip=True, normalized=False),
         AddedToken("<|lr|>", lstrip=True, rstrip=True, special=True, normalized=False),
         AddedToken("word", single_word=True, normalized=False), AddedToken("<|n|>", normalized=True),
         AddedToken("Ünï", normalized=True, special=True), AddedToken("a b", normalized=True, lstrip=True)]
EXTRA = ["  <|l|>", "<|r|>  \n ", " <|lr|> ", "word", "aword", "a b", "  a b", "Ünï", MARK, MARK * 2, " " + MARK, "<0x41>"]
O200K = ("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
POSSESSIVE = ("'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|"
              "\\s*[\\r\\n]|\\s+(?!\\S)|\\s")
DEEPSEEK = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+"
            "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
QWEN35 = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
          "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
OTHER = ["\\d{1,3}(?=(?:\\d{3})*\\b)", "(?=(\\d{3})+(?!\\d))", "\\w+|[^\\w\\s]+", "[\\r\\n]", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+",
         " ?[^(\\s|.,!?…。，、।۔،)]+", "(?<=\\p{Ll})(?=\\p{Lu})", "(?<!\\s)\\s", "^.{3}", "\\s+$", "a*?b", "(?>\\p{L}+)e?", "\\bth",
         "[^\\S\\n]+", "\\p{Han}+|[\\p{L}&&[^\\p{Han}]]+", "[^\\n]+|[\\n]+", "\\s{2}(?!\\S)|\\s{1}", "e*", "[\\w]+"]


def regex(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def literal(text, behavior, invert=False):
    return {"type": "Split", "pattern": {"String": text}, "behavior": behavior, "invert": invert}


def sequence(kind, *members):
    return {"type": "Sequence", kind: list(members)}


def byte_level(prefix=False, use_regex=True, trim=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": use_regex}


def metaspace(scheme, split=True, replacement=MARK):
    return {"type": "Metaspace", "replacement": replacement, "prepend_scheme": scheme, "split": split}


def train(byte_alphabet):
    """Merges of words, and for vocabularies of characters the byte tokens too."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    pre = pre_tokenizers.ByteLevel(add_prefix_space=False) if byte_alphabet else pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.pre_tokenizer = pre
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_alphabet else []
    special = ["<unk>"] if byte_alphabet else ["<unk>", *(f"<0x{b:02X}>" for b in range(256))]
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=alphabet, special_tokens=special, show_progress=False))
    described = json.loads(tokenizer.to_str())
    described["added_tokens"] = []
    return described


BYTES, CHARACTERS = train(True), train(False)

# What makes a case: a vocabulary, and what is changed in its file. (name, vocabulary, {section: value}, {model flag: value})
PRE = [metaspace(scheme, split) for scheme in ("always", "first", "never") for split in (True, False)]
PRE += [None, {"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "_", "prepend_scheme": "never", "add_prefix_space": False},
        {"type": "Digits", "individual_digits": True}, {"type": "Digits", "individual_digits": False},
        *({"type": "Punctuation", "behavior": b} for b in
          ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous")),
        *(literal(" ", b, i) for b in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous")
          for i in (False, True)),
        sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace("first")),
        sequence("pretokenizers", {"type": "Punctuation"}, metaspace("always", False), {"type": "Digits", "individual_digits": True})]
REGEX = [regex(p, b, i) for p in [O200K, POSSESSIVE, DEEPSEEK, QWEN35, *OTHER] for b, i in
         (("Isolated", False), ("Removed", True), ("MergedWithNext", False))]
NORMALIZERS = [{"type": t} for t in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase")]
NORMALIZERS += [{"type": "Strip", "strip_left": left, "strip_right": right} for left in (False, True) for right in (False, True)]
NORMALIZERS += [{"type": "Prepend", "prepend": MARK + "x"}, {"type": "Replace", "pattern": {"String": "th"}, "content": "ß"},
                {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": MARK},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "  "},
                {"type": "Replace", "pattern": {"Regex": "e+|$"}, "content": "x"},
                sequence("normalizers", {"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True}),
                sequence("normalizers", {"type": "Prepend", "prepend": MARK}, {"type": "Replace", "pattern": {"String": " "}, "content": MARK})]
DECODERS = [None, {"type": "Fuse"}, {"type": "ByteFallback"}, {"type": "BPEDecoder", "suffix": "e"},
            metaspace("always"), metaspace("never"), metaspace("first"), {"type": "Replace", "pattern": {"Regex": "e*"}, "content": "ß"},
            {"type": "Replace", "pattern": {"String": MARK}, "content": " "},
            sequence("decoders", {"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"},
                     {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}),
            sequence("decoders", {"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"},
                     {"type": "Fuse"}),
            sequence("decoders", {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Replace", "pattern": {"Regex": "e+"}, "content": "3"}),
            sequence("decoders", {"type": "Strip", "content": MARK, "start": 1, "stop": 0}, metaspace("always"), {"type": "ByteFallback"})]


def cases():
    for i, pre in enumerate(PRE):
        yield f"pre{i}", CHARACTERS, {"pre_tokenizer": pre}, {"byte_fallback": True, "fuse_unk": True}
    for i, pre in enumerate(REGEX):
        yield f"regex{i}", CHARACTERS, {"pre_tokenizer": pre}, {"byte_fallback": True}
        if pre["behavior"] == "Isolated":
            yield f"regex{i}-bytes", BYTES, {"pre_tokenizer": sequence("pretokenizers", pre, byte_level(use_regex=False))}, {}
    for i, normalizer in enumerate(NORMALIZERS):
        yield f"normalizer{i}", CHARACTERS, {"normalizer": normalizer, "pre_tokenizer": None}, {"byte_fallback": True}
        yield f"normalizer{i}-first", CHARACTERS, {"normalizer": normalizer, "pre_tokenizer": metaspace("first")}, {}
        yield f"normalizer{i}-bytes", BYTES, {"normalizer": normalizer, "pre_tokenizer": byte_level(prefix=True)}, {}
    yield "normalizer-bytes", BYTES, {"normalizer": {"type": "ByteLevel"}, "pre_tokenizer": None}, {}
    yield ("decoder-first", BYTES, {"decoder": sequence("decoders", metaspace("always"), byte_level()),
                                    "pre_tokenizer": byte_level(use_regex=False)}, {})
    for i, decoder in enumerate(DECODERS):
        yield f"decoder{i}", CHARACTERS, {"decoder": decoder, "pre_tokenizer": metaspace("always")}, {"byte_fallback": True}
    for prefix in (False, True):
        for use_regex in (False, True):
            pre = byte_level(prefix, use_regex)
            yield f"bytes{prefix}{use_regex}", BYTES, {"pre_tokenizer": pre, "decoder": byte_level()}, {}
            yield (f"bytes{prefix}{use_regex}-digits", BYTES,
                   {"pre_tokenizer": sequence("pretokenizers", pre, {"type": "Digits", "individual_digits": True})}, {})
            yield (f"trim{prefix}{use_regex}", BYTES,
                   {"pre_tokenizer": pre, "post_processor": byte_level(prefix, use_regex, True)}, {})
    roberta = {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": True}
    yield "roberta", BYTES, {"pre_tokenizer": byte_level(True), "post_processor": roberta}, {}
    for flags in ({"fuse_unk": True}, {"fuse_unk": False}, {"unk_token": None}, {"ignore_merges": True},
                  {"byte_fallback": True, "unk_token": None}, {"end_of_word_suffix": "e"}, {"continuing_subword_prefix": "t"},
                  {"continuing_subword_prefix": "t", "end_of_word_suffix": "s", "fuse_unk": True}):
        yield f"flags-{'-'.join(flags)}", CHARACTERS, {"pre_tokenizer": {"type": "WhitespaceSplit"}}, flags


def keep_merges(described):
    """A prefix changes what a merge makes: those whose token is not there are left out."""
    model = described["model"]
    prefix = model.get("continuing_subword_prefix") or ""
    pairs = [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
    model["merges"] = [p for p in pairs if p[1].startswith(prefix) and p[0] + p[1][len(prefix):] in model["vocab"]]


@pytest.mark.parametrize("name, vocabulary, sections, flags", [pytest.param(*case, id=case[0]) for case in cases()])
def test_rule(name, vocabulary, sections, flags, tmp_path):
    described = json.loads(json.dumps(vocabulary))
    described.update(decoder=None, post_processor=None, normalizer=None)
    described.update(sections)
    described["model"].update(flags)
    keep_merges(described)
    theirs = Tokenizer.from_str(json.dumps(described))
    theirs.add_tokens(ADDED)
    path = tmp_path / "tokenizer.json"
    theirs.save(str(path))
    theirs = Tokenizer.from_file(str(path))
    with viva_ctypes.Tokenizer(path) as ours:
        strings = unicode_strings.strings(sum(map(ord, name)), COUNT, added(theirs) + EXTRA, parts=10, run=12)
        compare(ours, theirs, ["", " ", "  lead", "Hello world", MARK, "\u0378²\U0009e5d6x½ (³¹¼) ¾²", *strings])


def test_lstrip_behind_rstrip(tmp_path):
    """White space that a token with rstrip has taken is no part of the token with lstrip behind it; when that was all of it, the
    token is not there. (Where even more was taken, the reference panics.)"""
    theirs = Tokenizer.from_str(json.dumps({**BYTES, "pre_tokenizer": byte_level(), "post_processor": None, "decoder": None}))
    theirs.add_tokens([AddedToken("<|r|>", rstrip=True, normalized=False), AddedToken("\n\n", lstrip=True, normalized=False),
                       AddedToken("\t\t", normalized=False), AddedToken("\nthe", lstrip=True, normalized=False)])
    theirs.save(str(tmp_path / "tokenizer.json"))
    with viva_ctypes.Tokenizer(tmp_path / "tokenizer.json") as ours:
        compare(ours, theirs, ["<|r|>\n\n", "<|r|>\n\nthe", "a<|r|>\n\n", "\n\n<|r|>the", "<|r|>\t\t", "<|r|>\nthe", "a \nthe<|r|>\n\nb",
                               "<|r|><|r|>\n\n\n\n  the"[:12]])


PLACES = {
    "holes": ({"vocab": {"a": 0, "b": 1, "ab": 2, "c": 9}, "merges": ["a b"]}, ["<x>", " y"]),
    "twice": ({"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}, ["<x>", "<z>", "<x>"]),
    "merges-first": ({"merges": [["a", "b"]], "vocab": {"b": 1, "a": 0, "ab": 2}}, ["<x>"]),
    "prefix-last": ({"merges": ["a ##b"], "vocab": {"a": 0, "b": 1, "##b": 2, "ab": 3}, "continuing_subword_prefix": "##"}, ["<x>"]),
    "nothing": ({"vocab": {}, "merges": []}, ["<x>"]),
}


@pytest.mark.parametrize("name", PLACES)
def test_places(name, tmp_path):
    """Ids of added tokens, and the order of a model's members, as files made by hand have them."""
    model, texts = PLACES[name]
    tokens = [{"id": len(model["vocab"]) + i, "content": t, "single_word": False, "lstrip": i > 1, "rstrip": False,
               "normalized": False, "special": i > 1} for i, t in enumerate(texts)]
    described = {"version": "1.0", "added_tokens": tokens, "normalizer": None, "pre_tokenizer": None, "post_processor": None,
                 "decoder": None, "model": {"type": "BPE", **model}}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(described))
    theirs = Tokenizer.from_file(str(path))
    with viva_ctypes.Tokenizer(path) as ours:
        compare(ours, theirs, ["ab<x>a", "abab y c <z> <x>", "b", ""], decodes=False)
