"""One tokenizer in its other files: vocab.json with merges.txt, tekken.json, files in memory, and what tokenizer_config.json
says, against Hugging Face tokenizers built as transformers 5 builds them from the same files.

tekken.json of the package mistral_common is compared where that is installed (or VIVA_TEKKEN names one), and Qwen 3's
files where shared/tokenizers lies beside the project.
"""

import base64
import ctypes as c
import importlib.util
import json
import lzma
import os
import struct
import time
from pathlib import Path

import pytest
import unicode_strings
import viva_ctypes
from test_tokenizer import GOLDEN, SHARED, WIKITEXT
from tokenizer_compare import added, compare, encode

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors  # noqa: E402

END = "<|endoftext|>"
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


class File(c.Structure):
    _fields_ = [("name", c.c_char_p), ("data", c.c_char_p), ("bytes", c.c_size_t)]


class Loaded(viva_ctypes.Handle):
    """A tokenizer from files in memory: {name: bytes}."""
    end = "viva_tokenizer_release"

    def __init__(self, files):
        super().__init__()
        array = (File * len(files))(*[(name.encode(), data, len(data)) for name, data in files.items()])
        viva_ctypes.call("viva_tokenizer_load_files", array, c.c_size_t(len(files)), None, c.byref(self.handle))


def both(files, folder):
    """The same files in memory and as a folder."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return Loaded(files), viva_ctypes.Tokenizer(folder)


def small_model():
    """Vocabulary and merges of the small golden tokenizer, with the byte alphabet whole."""
    model = json.loads((GOLDEN / "small.json").read_text())["model"]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    vocab = dict(model["vocab"])
    for character in pre_tokenizers.ByteLevel.alphabet():
        vocab.setdefault(character, max(vocab.values()) + 1)
    return vocab, merges


def pair_files(vocab, merges, config=None, **more):
    lines = "".join(f"{a} {b}\n" for a, b in merges)
    files = {"vocab.json": json.dumps(vocab).encode(), "merges.txt": ("#version: 0.2\n" + lines).encode()}
    if config is not None:
        files["tokenizer_config.json"] = json.dumps(config).encode()
    files.update({name + ".json": json.dumps(value).encode() for name, value in more.items()})
    return files


def gpt2(vocab, merges, special, prefix_space=False):
    theirs = Tokenizer(models.BPE(vocab, merges, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False))
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    theirs.decoder = decoders.ByteLevel()
    theirs.add_tokens(special)
    return theirs


def frame(theirs, bos=None, eos=None):
    single = " ".join(filter(None, [bos, "$A", eos]))
    theirs.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(t, theirs.token_to_id(t)) for t in {bos, eos} - {None}])
    return theirs


def special(text, **flags):
    return AddedToken(text, special=True, normalized=False, **flags)


CONFIGS = [
    # tokenizer_config.json (None: no such file), files beside it, added tokens, BOS and EOS around a text, a space in front
    (None, {}, [special(END)], (None, None), False),
    ({"tokenizer_class": "GPT2Tokenizer", "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": True},
      "unk_token": "<s>", "add_bos_token": True, "add_prefix_space": True}, {}, [special("<s>"), special("</s>")], ("<s>", None),
     True),
    ({"tokenizer_class": "CodeGenTokenizerFast", "add_eos_token": True, "add_bos_token": False},
     {"special_tokens_map": {"eos_token": "<e>"}, "added_tokens": {"<x y>": 700, "<e>": 701}},
     [AddedToken("<x y>", normalized=False), special("<e>"), special(END)], (None, "<e>"), False),
    ({"tokenizer_class": "GPT2Tokenizer", "unk_token": None, "bos_token": None, "additional_special_tokens": ["<more>"],
      "added_tokens_decoder": {
          "701": {"content": "<b>", "special": False, "rstrip": True, "single_word": True, "normalized": False},
          "700": {"content": END, "special": True, "lstrip": False, "normalized": False}}}, {"added_tokens": {"<no>": 9}},
     [special(END), AddedToken("<b>", rstrip=True, single_word=True, normalized=False), special("<more>")], (None, None), False),
]


@pytest.mark.parametrize("config, beside, tokens, around, space", CONFIGS)
def test_gpt2_pair(config, beside, tokens, around, space, tmp_path):
    vocab, merges = small_model()
    theirs = gpt2(vocab, merges, tokens, space)
    if around != (None, None):
        frame(theirs, *around)
    memory, folder = both(pair_files(vocab, merges, config, **beside), tmp_path)
    strings = unicode_strings.strings(301, 25, added(theirs))
    with memory, folder:
        compare(memory, theirs, strings)
        compare(folder, theirs, strings[:5])


def test_pair_by_one_file(tmp_path):
    vocab, merges = small_model()
    memory, folder = both(pair_files(vocab, merges), tmp_path)
    with memory, folder, viva_ctypes.Tokenizer(tmp_path / "vocab.json") as one, viva_ctypes.Tokenizer(
            tmp_path / "merges.txt") as other:
        for text in unicode_strings.strings(302, 30, [END]):
            assert encode(one, text, 1) == encode(other, text, 1) == encode(folder, text, 1) == encode(memory, text, 1)


def qwen3():
    path = SHARED / "qwen3.tokenizer.json.xz"
    if not path.exists():
        pytest.skip("no shared/tokenizers beside the project")
    return json.loads(lzma.decompress(path.read_bytes())), json.loads(
        lzma.decompress((SHARED / "qwen3.tokenizer_config.json.xz").read_bytes()))


def test_qwen_pair(tmp_path):
    """The pair that Qwen's models are published with gives the ids of their tokenizer.json."""
    whole, config = qwen3()
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in whole["model"]["merges"]]
    theirs = Tokenizer.from_str(json.dumps(whole))
    with Loaded(pair_files(whole["model"]["vocab"], merges, config)) as ours:
        compare(ours, theirs, unicode_strings.strings(303, 8, added(theirs)))
        if WIKITEXT.exists():
            text = WIKITEXT.read_text()[:100000]
            assert encode(ours, text) == theirs.encode(text, add_special_tokens=False).ids


def tekken_reference(document):
    """transformers' MistralConverter, with Mistral's own frame."""
    config, listed = document["config"], document.get("special_tokens")
    names = [t["token_str"] for t in sorted(listed, key=lambda t: t["rank"])] if listed else EARLY
    names += [f"<SPECIAL_{i}>" for i in range(len(names), config["default_num_special_tokens"])]
    inner = config["default_vocab_size"] - len(names)
    ranks = {base64.b64decode(t["token_bytes"]): i for i, t in enumerate(document["vocab"][:inner])}
    # GPT-2's byte alphabet: bytes that print stand for themselves, the others follow from 256 on
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letter = {b: chr(b) for b in printable}
    for i, b in enumerate(b for b in range(256) if b not in letter):
        letter[b] = chr(256 + i)
    spell = lambda token: "".join(letter[b] for b in token)  # noqa: E731
    merges = []
    for token in ranks:
        cuts = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
        merges += [(spell(a), spell(b)) for a, b in sorted(cuts, key=lambda cut: (ranks[cut[0]], ranks[cut[1]]))]
    vocab = {spell(token): rank + len(names) for token, rank in ranks.items()}
    vocab.update({name: i for i, name in enumerate(names)})
    theirs = Tokenizer(models.BPE(vocab, merges, fuse_unk=False, ignore_merges=True))
    theirs.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(config["pattern"]), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    theirs.decoder = decoders.ByteLevel()
    theirs.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return frame(theirs, "<s>")


EARLY = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
         "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
         "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"]


def small_tekken(listed):
    """All bytes, words of the WikiText kind and all their beginnings, and a token spelled as a special one."""
    words = [" the", "The", " of", "ing", "123", " 12", "aaaa", "éa", " Olá", "\n\n", "<s>", "世界", "  ", "   ", "!!"]
    tokens = [bytes([b]) for b in range(256)]
    for word in (w.encode() for w in words):
        tokens += [word[:i] for i in range(2, len(word) + 1) if word[:i] not in tokens]
        tokens += [word[i:] for i in range(1, len(word) - 1) if word[i:] not in tokens]
    document = {"config": {"pattern": TEKKEN, "num_vocab_tokens": len(tokens), "default_vocab_size": len(tokens) + 28,
                           "default_num_special_tokens": 30, "version": "v3"},
                "vocab": [{"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": None}
                          for i, t in enumerate(tokens)], "image": {"image_patch_size": 16}}
    if listed:
        document["special_tokens"] = [{"rank": i, "token_str": t, "is_control": True}
                                      for i, t in enumerate(["<unk>", "<s>", "</s>", "[X]"])]
    return document


@pytest.mark.parametrize("listed", [False, True])
def test_small_tekken(listed, tmp_path):
    document = small_tekken(listed)
    theirs = tekken_reference(document)
    memory, folder = both({"tekken.json": json.dumps(document).encode()}, tmp_path)
    with memory, folder:
        compare(memory, theirs, unicode_strings.strings(304, 25, added(theirs) + [" the of", "<s>x", "aaaaaaa"]))
        assert encode(folder, "The of <s>", 1, 1) == theirs.encode("The of <s>").ids
        assert viva_ctypes.lib.viva_tokenizer_bos(folder.handle) == 1


def real_tekken():
    if os.environ.get("VIVA_TEKKEN"):
        return Path(os.environ["VIVA_TEKKEN"])
    found = importlib.util.find_spec("mistral_common")
    return Path(found.origin).parent / "data" / "tekken_240911.json" if found else None


@pytest.mark.skipif(not real_tekken(), reason="mistral_common is not installed and VIVA_TEKKEN names no tekken.json")
def test_real_tekken():
    path = real_tekken()
    theirs = tekken_reference(json.loads(path.read_text()))
    with viva_ctypes.Tokenizer(path) as ours:
        compare(ours, theirs, unicode_strings.strings(305, 2000 if os.environ.get("VIVA_SLOW") else 100, added(theirs)[:40]))
        if WIKITEXT.exists():
            text = WIKITEXT.read_text()
            assert encode(ours, text) == theirs.encode(text, add_special_tokens=False).ids


def test_config_beside_tokenizer_json():
    """BOS and EOS around a text are tokenizer_config.json's when it says so; without it, the file's own."""
    theirs = Tokenizer.from_file(str(GOLDEN / "small.json"))
    theirs.add_special_tokens(["<bos>", "<eos>"])
    files = {"tokenizer.json": theirs.to_str().encode()}
    bos, eos = theirs.token_to_id("<bos>"), theirs.token_to_id("<eos>")
    plain = theirs.encode("ab cd", add_special_tokens=False).ids
    cases = [({}, None), ({"bos_token": "<bos>", "eos_token": {"content": "<eos>"}}, None),
             ({"add_bos_token": True, "bos_token": "<bos>"}, [bos]),
             ({"add_bos_token": False, "add_eos_token": True, "bos_token": "<bos>", "eos_token": "<eos>"}, [eos])]
    for config, expected in cases:
        with Loaded({**files, "tokenizer_config.json": json.dumps(config).encode()}) as ours:
            wanted = theirs.encode("ab cd").ids if expected is None else [
                *(i for i in expected if i == bos), *plain, *(i for i in expected if i == eos)]
            assert encode(ours, "ab cd", 0, 1) == wanted, config
            if "eos_token" in config:
                assert viva_ctypes.lib.viva_tokenizer_eos(ours.handle) == eos


REFUSED = [
    ({"x.txt": b""}, "VIVA_E_NOT_FOUND", "no tokenizer.json"), ({"vocab.json": b"{}"}, "VIVA_E_UNSUPPORTED", "only one is there"),
    (pair_files({"a": 0}, [], {"tokenizer_class": "RobertaTokenizerFast"}), "VIVA_E_UNSUPPORTED", "'RobertaTokenizer'"),
    ({"vocab.json": b'{"a":0}', "merges.txt": b"#version\na b c\n"}, "VIVA_E_FORMAT", "line 2"),
    ({"vocab.json": b'{"a":0}', "merges.txt": b"a a\n\n"}, "VIVA_E_FORMAT", "line 2"),
    ({"vocab.json": b'{"a":0}', "merges.txt": b"a b"}, "VIVA_E_FORMAT", "'b', which is not in the vocabulary"),
    ({"vocab.json": b'{"a":0', "merges.txt": b""}, "VIVA_E_FORMAT", "vocab.json"),
    ({"vocab.json": b'{"a":0}', "merges.txt": b"", "tokenizer_config.json": b"[]"}, "VIVA_E_FORMAT", "tokenizer_config.json"),
    ({"vocab.json": b'{"a":0}', "merges.txt": b"", "tokenizer_config.json": b'{"added_tokens_decoder":{"x":{}}}'},
     "VIVA_E_FORMAT", "a token's id"),
    ({"tekken.json": b"{}"}, "VIVA_E_FORMAT", "no config with a pattern"),
    ({"/etc/passwd": b""}, "VIVA_E_ARGUMENT", "a folder in it"), ({"a.gguf": b"GGUF", "b.json": b""}, "VIVA_E_ARGUMENT", "alone")]


@pytest.mark.parametrize("files, code, fragment", REFUSED, ids=lambda v: v if isinstance(v, str) else None)
def test_refused(files, code, fragment):
    with pytest.raises(viva_ctypes.VivaError) as refused:
        Loaded(files)
    assert refused.value.code == code and fragment in str(refused.value)


TEKKEN_FAULTS = [
    (lambda d: d["vocab"][3].update(rank=4), "expected rank 3"), (lambda d: d["vocab"][3].update(token_bytes="A==="), "base64"),
    (lambda d: d["vocab"][3].update(token_bytes="AB=="), "base64"), (lambda d: d["vocab"][3].update(token_bytes=""), "base64"),
    (lambda d: d["vocab"][3].update(token_bytes="A" * 4096), "bytes is not supported"),
    (lambda d: d["vocab"][3].update(token_bytes="AA=="), "two tokens have the text"),
    (lambda d: d["config"].update(default_vocab_size=10**6), "default_vocab_size is 1000000"),
    (lambda d: d["config"].update(default_num_special_tokens=2**31 - 1), "default_num_special_tokens"),
    (lambda d: d["config"].update(default_num_special_tokens=3), "default_num_special_tokens is 3"),
    (lambda d: d["config"].update(pattern="(?<x"), ""), (lambda d: d["special_tokens"][1].update(rank=9), "rank 9"),
    (lambda d: d["special_tokens"][1].update(rank=0), "id 0"), (lambda d: d["special_tokens"][1].update(token_str=""), "a text")]


@pytest.mark.parametrize("fault, fragment", TEKKEN_FAULTS)
def test_tekken_refused(fault, fragment):
    document = small_tekken(True)
    fault(document)
    with pytest.raises(viva_ctypes.VivaError) as refused:
        Loaded({"tekken.json": json.dumps(document).encode()})
    assert refused.value.code in ("VIVA_E_FORMAT", "VIVA_E_UNSUPPORTED") and fragment in str(refused.value)


def test_gguf_in_memory():
    data = (GOLDEN.parent / "tiny.gguf").read_bytes()
    with Loaded({"tiny.gguf": data}) as ours, viva_ctypes.Tokenizer(GOLDEN.parent / "tiny.gguf") as theirs:
        for text in unicode_strings.strings(306, 50, []):
            assert encode(ours, text, 1, 1) == encode(theirs, text, 1, 1)


def text_of(*parts):
    return b"".join(struct.pack("<Q", len(p)) + p if isinstance(p, bytes) else struct.pack("<I", p) for p in parts)


def test_token_of_two_gib(tmp_path):
    """A vocabulary whose one token is said to have 2^31 bytes, which are there (as a hole in the file): refused at once."""
    path, length = tmp_path / "long.gguf", 1 << 31
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 3) + text_of(b"general.architecture", 8, b"llama", b"tokenizer.ggml.model", 8,
                                                            b"gpt2", b"tokenizer.ggml.tokens", 9, 8)
    with open(path, "wb") as file:
        file.write(head + struct.pack("<QQ", 1, length))
        file.truncate(file.tell() + length + 64)
    with pytest.raises(viva_ctypes.VivaError) as refused:
        viva_ctypes.Tokenizer(path)
    assert "a string lies beyond the first GiB" in str(refused.value)


def test_expression_without_end():
    """A Split whose expression takes exponential time on a backtracking engine: an error within a second, of processor time."""
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    with Loaded({"tokenizer.json": json.dumps({"pre_tokenizer": split, "model": model}).encode()}) as ours:
        begin = time.process_time()
        with pytest.raises(viva_ctypes.VivaError) as refused:
            viva_ctypes.Tokenizer.encode(ours, "a" * 60 + "b")
        assert refused.value.code == "VIVA_E_LIMIT" and time.process_time() - begin < 1
