"""Names of tokenizer.ggml.pre: small GGUF files with them, beside Hugging Face tokenizers built from the rules that the models
which carry the names have. And llama.cpp's vocabulary-only files (VIVA_LLAMA_VOCABS names the folder, see docs/tokenizers.md),
whose vectors test_tokenizer.py asks viva: here the reference is asked, built from the files' tokens and merges."""

import json
import os
from pathlib import Path

import pytest
import unicode_strings
import viva_ctypes

gguf = pytest.importorskip("gguf")
tokenizers = pytest.importorskip("tokenizers")
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers  # noqa: E402

COUNT = 10_000 if os.environ.get("VIVA_SLOW") else 400
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# tokenization_kimi.py
KIMI = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
ASIAN = ("[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff"
         "\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+")
WORDS = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
         r"\s*[\r\n]+|\s+(?!\S)|\s+")


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


RULES = {
    "kimi-k2": [split(KIMI)],
    # llama.cpp's handler: a run of digits in threes, a first group of one or two
    "afmoe": [split(r"\p{N}{1,3}(?=(\p{N}{3})*(?:\P{N}|\z))"), split(ASIAN), split(WORDS)],
    "chameleon": [split(r"<sentinel:[0-9]+>"), split(r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"), split(r"([\t\n]|    |  )"),
                  pre_tokenizers.Digits(individual_digits=True), split(r"[\p{P}!-/:-@\[-`{-~]"), split(GPT2)],
}
EXTRA = ["1234567 12 3456 ١٢٣٤٥ 1²345", "<sentinel:12>IMGIMGABCZ IMGIMGABCDEZ", "\t\t    a     b\n\n  c", "don't DON'T they'll",
         "漢字かなカナ ｶﾅ 한국어 ไทย မြန်မာ ខ្មែរ", " 漢字abc漢 字", "a漢's ﬀ豈豈", "x.y ...!? (a) `b`", "\ua000\ua001 \ue000"]


@pytest.fixture(scope="module")
def trained():
    """A byte-level vocabulary with merges across what the patterns cut, so that a wrong cut is seen."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(use_regex=False)])
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    corpus = [" ".join(EXTRA), " ".join(unicode_strings.WORDS), "12345678901234567890 11 22 33 don'tthey'll ...!!! IMGIMGABZ"] * 30
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def write(path, pre, tokenizer):
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
    writer.add_add_bos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("pre", RULES)
def test_pre(pre, trained, tmp_path):
    write(tmp_path / "m.gguf", pre, trained)
    theirs = Tokenizer.from_str(trained.to_str())
    theirs.pre_tokenizer = pre_tokenizers.Sequence(RULES[pre] + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    theirs.decoder = decoders.ByteLevel()
    texts = EXTRA + list(unicode_strings.strings(31, COUNT, EXTRA))
    with viva_ctypes.Tokenizer(tmp_path / "m.gguf") as ours:
        for text, wanted in zip(texts, theirs.encode_batch(texts, add_special_tokens=False)):
            assert ours.encode(text) == wanted.ids, text


def test_unknown(trained, tmp_path):
    """A name that is not known: the message has one name for each rule, and is not cut off."""
    write(tmp_path / "m.gguf", "nope", trained)
    with pytest.raises(Exception) as refused:
        viva_ctypes.Tokenizer(tmp_path / "m.gguf")
    for name in ("'nope'", "gpt-2", "llama-bpe", "kimi-k2", "afmoe", "chameleon", "laguna", "other names of these"):
        assert name in str(refused.value)


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|"
          r"\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
DIGITS, BYTES = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
DEEPSEEK = [split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-\ud7ff]+"), DIGITS]
FILES = {"gpt-2": [BYTES], "mpt": [BYTES], "starcoder": [DIGITS, BYTES], "refact": [DIGITS, BYTES], "command-r": [DIGITS, BYTES],
         "llama-bpe": [split(LLAMA3)], "qwen2": [split(QWEN2)], "qwen35": [split(QWEN35)], "deepseek-llm": DEEPSEEK,
         "deepseek-coder": DEEPSEEK, "gemma-4": None,
         "falcon": [pre_tokenizers.Punctuation("contiguous"), BYTES, pre_tokenizers.Digits(False), split("[0-9][0-9][0-9]")]}
NFC = ["mpt", "qwen2"]  # Qwen 3.5's vectors keep U+0301 apart


def reference(path, name):
    meta = {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items() if key.startswith("tokenizer")}
    tokens, kinds = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    bytes_ = FILES[name] is None
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges, byte_fallback=bytes_, fuse_unk=bytes_,
                                     ignore_merges=name == "llama-bpe", unk_token="<unk>" if bytes_ else None))
    if bytes_:
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(FILES[name] + [pre_tokenizers.ByteLevel(False, use_regex=False)] * (
            BYTES not in FILES[name]))
    if name in NFC:
        tokenizer.normalizer = normalizers.NFC()
    added = [t for t, kind in zip(tokens, kinds) if kind == gguf.TokenType.USER_DEFINED]
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in added])
    return tokenizer


def vectors():
    folder = os.environ.get("VIVA_LLAMA_VOCABS")
    return sorted(p for p in Path(folder).glob("*.gguf.inp") if p.name[11:-9] in FILES) if folder else []


@pytest.mark.parametrize("path", vectors(), ids=lambda path: path.name)
def test_vectors_of_the_reference(path):
    theirs = reference(path.with_suffix(""), path.name[11:-9])
    texts = path.read_bytes().decode().split("\n__ggml_vocab_test__\n")
    wanted = path.with_suffix(".out").read_text().split("\n")
    for text, line in zip(texts, wanted):
        assert theirs.encode(text, add_special_tokens=False).ids == [int(x) for x in line.split()], text
