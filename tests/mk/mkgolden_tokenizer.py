#!/usr/bin/env python3
"""Writes tests/golden/tokenizer/: what Hugging Face tokenizers 0.23.3 answers, for tests/text/.

    classes.txt   NAME COUNT HASH of the code points in each class, asked of the package's own regex, Digits and \\w
    nfc.txt       COUNT HASH of NFC of every code point; then lines HEX TAB HEX of sequences
    pieces.txt    HEX TAB ENDS...: where each pre-tokenizer cuts: gpt2, llama3, qwen2, each_digit, digit_runs
    small.json, small_nfc.json   small tokenizers with every flag of added tokens
    vectors.txt   FILE TAB MATCH_SPECIAL TAB HEX TAB IDS TAB HEX TAB HEX: ids, decoded with and without special tokens ("="
                  when that is the text itself)
    smollm2.txt   the same for SmolLM2's real vocabulary (FILE is smollm2), when its GGUF file is given

    tests/mk/mkgolden_tokenizer.py [SmolLM2-135M-Instruct-Q4_1.gguf]
"""
import json
import pathlib
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python"))
import unicode_strings  # noqa: E402

OUT = ROOT / "golden" / "tokenizer"
MASK = (1 << 64) - 1
CHARACTERS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
REST = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
LLAMA3 = CONTRACTIONS + "\\p{N}{1,3}" + REST
QWEN2 = CONTRACTIONS + "\\p{N}" + REST


def mix(total, value):
    """splitmix64's finaliser of total + value."""
    z = (total + value) & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def mix_all(values):
    total = 0
    for value in values:
        total = mix(total, value + 1)
    return total


def classes():
    text = "".join(map(chr, CHARACTERS))

    def removed(pattern):
        kept = pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str(text)
        left = {i for _, (a, b) in kept for i in range(a, b)}
        return [c for i, c in enumerate(CHARACTERS) if i not in left]

    apart = "".join("x" + chr(c) for c in CHARACTERS if chr(c) != "x")
    pieces = pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str(apart)
    numeric = sorted(ord(s) for s, _ in pieces if len(s) == 1 and s != "x")
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    tokenizer.add_tokens([AddedToken("QQ", single_word=True, normalized=False)])
    word = [c for c in CHARACTERS if 1 not in tokenizer.encode("QQ" + chr(c)).ids]
    with open(OUT / "classes.txt", "w") as file:
        for name, found in [("letter", removed(r"\p{L}")), ("number", removed(r"\p{N}")), ("space", removed(r"\s")),
                            ("numeric", numeric), ("word", word)]:
            print(name, len(found), f"{mix_all(found):016x}", file=file)


def nfc():
    normalizer = normalizers.NFC()
    total = 0
    for c in CHARACTERS:
        for out in normalizer.normalize_str(chr(c)):
            total = mix(total, ord(out) + 1)
    with open(OUT / "nfc.txt", "w") as file:
        print(len(CHARACTERS), f"{total:016x}", file=file)
        rng = unicode_strings.random.Random(5)
        marks = [0x300, 0x301, 0x308, 0x323, 0x327, 0x328, 0x334, 0x345, 0x5B0, 0x93C, 0x1161, 0x11A8, 0x3099, 0x898, 0x1D165]
        bases = [0x41, 0x61, 0x6F, 0x3B1, 0x1100, 0xAC00, 0x304B, 0x915, 0x1F00, 0x344, 0x212B, 0xE9, 0x1E69, 0x1D157, 0x20]
        for _ in range(200):
            text = "".join(chr(rng.choice(marks if rng.random() < 0.7 else bases)) for _ in range(rng.randrange(1, 9)))
            print(text.encode().hex(), normalizer.normalize_str(text).encode().hex(), sep="\t", file=file)


def pieces():
    split = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in (GPT2, LLAMA3, QWEN2)]
    split += [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Digits(individual_digits=False)]
    with open(OUT / "pieces.txt", "w") as file:
        for text in unicode_strings.strings(11, 150, parts=8, run=20):
            columns = [text.encode().hex()]
            for pre in split:
                ends, at = [], 0
                for piece, _ in pre.pre_tokenize_str(text):
                    at += len(piece.encode())
                    ends.append(at)
                columns.append(",".join(map(str, ends)))
            print(*columns, sep="\t", file=file)


def small():
    """Two tokenizers of a few hundred tokens, trained on the test's own words."""
    corpus = [" ".join(unicode_strings.WORDS), "the theme there then that this hello hello world worlds 123 1234 the end"] * 20
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    added = [AddedToken("<s>", special=True, normalized=False), AddedToken("</s>", special=True, normalized=False),
             AddedToken("<|l|>", lstrip=True, normalized=False), AddedToken("<|r|>", rstrip=True, normalized=False),
             AddedToken("<|lr|>", lstrip=True, rstrip=True, special=True, normalized=False),
             AddedToken("word", single_word=True, normalized=False), AddedToken("<|n|>", normalized=True),
             AddedToken("<|", normalized=True), AddedToken("<|r|><", normalized=False), AddedToken(" ", normalized=False),
             AddedToken("日本", normalized=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)])
    tokenizer.add_tokens(added)
    ids = [(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")]
    template = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A $B </s>", special_tokens=ids)
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    tokenizer.save(str(OUT / "small.json"), pretty=False)

    described = json.loads(tokenizer.to_str())
    for token in described["added_tokens"]:
        token["content"] = token["content"].replace(" ", "<sp>")
    described["model"]["ignore_merges"] = True
    described["model"]["merges"] = [" ".join(pair) for pair in described["model"]["merges"][:60]]
    described["normalizer"] = {"type": "NFC"}
    described["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}]}
    described["post_processor"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    (OUT / "small_nfc.json").write_text(json.dumps(described, ensure_ascii=False, separators=(",", ":")))


def vector_lines(name, tokenizer, texts):
    for text in texts:
        for match_special in (0, 1):
            tokenizer.encode_special_tokens = not match_special
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            decoded = [tokenizer.decode(ids, skip_special_tokens=skip) for skip in (False, True)]
            columns = ["=" if d == text else d.encode().hex() for d in decoded]
            yield "\t".join([name, str(match_special), text.encode().hex(), ",".join(map(str, ids)), *columns])


def vectors():
    with open(OUT / "vectors.txt", "w") as file:
        for name in ("small.json", "small_nfc.json"):
            tokenizer = Tokenizer.from_file(str(OUT / name))
            added = [t.content for t in tokenizer.get_added_tokens_decoder().values()] + ["  <|l|>", "<|r|>  \n ", " <|lr|> "]
            for line in vector_lines(name, tokenizer, unicode_strings.strings(23, 70, added, parts=8, run=12)):
                print(line, file=file)


def smollm2(path):
    import gguf_tokenizer
    tokenizer = gguf_tokenizer.build(path)
    added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    texts = ["Hello world", "The quick brown fox", "Olá mundo", "<|im_start|>user\nHi!<|im_end|>\n", "2024-11-22 3.14159"]
    with open(OUT / "smollm2.txt", "w") as file:
        for line in vector_lines("smollm2", tokenizer, texts + unicode_strings.strings(31, 80, added, parts=8, run=20)):
            print(line, file=file)


def main():
    assert tokenizers.__version__ == "0.23.3", tokenizers.__version__
    OUT.mkdir(parents=True, exist_ok=True)
    classes()
    nfc()
    pieces()
    small()
    vectors()
    if len(sys.argv) > 1:
        smollm2(sys.argv[1])


main()
