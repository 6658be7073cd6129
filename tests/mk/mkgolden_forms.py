#!/usr/bin/env python3
"""Writes tests/golden/tokenizer/forms.txt: what Hugging Face tokenizers 0.23.3 answers for every rule of a tokenizer.json and for the
other forms of a tokenizer's files, for tests/text/test_forms.c: mkgolden_forms.py (no arguments). The cases are those of
tests/python/test_tokenizer_rules.py, test_tokenizer_homes.py and test_sentencepiece.py, with fewer texts.

Lines of columns, separated by tabs:

    b NAME MEMBERS          the members of a "model" that some cases share, or its added tokens
    = CASE                  what follows is about this tokenizer, until the next such line
    j BASE SECTIONS FLAGS   its tokenizer.json: {SECTIONS,MEMBERS of ADDED,"model":{FLAGS,MEMBERS of BASE}}, where ADDED is BASE's line
                            "b NAME+added"
    f FILE HEX              or its files
    v MATCH_SPECIAL ADD_SPECIAL HEX IDS BEGINS ENDS HEX HEX
                            a text's ids, where each begins and ends, and its text with and without special tokens ("=": the
                            text itself)
    r FRAGMENT              it is refused, with these words

    python: tokenizers, pytest, and libviva.so for the modules' own sake (VIVA_LIBRARY)
"""

import json
import random
import sys
import tempfile
from pathlib import Path

import tokenizers
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python"))
import test_sentencepiece as pieces  # noqa: E402
import test_tokenizer_homes as homes  # noqa: E402
import test_tokenizer_rules as rules  # noqa: E402
import unicode_strings  # noqa: E402
from tokenizer_compare import added  # noqa: E402

OUT = ROOT / "golden" / "tokenizer" / "forms.txt"
TEXTS = 1  # random ones for each case, beside two that every case has
KNOWN = {"tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
         "added_tokens.json"}
MODES = ((0, 0), (1, 0), (1, 1))


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def inside(value):
    return compact(value)[1:-1]


def vectors(theirs, texts):
    for number, text in enumerate(texts):
        match_special, add_special = MODES[number % 3]
        theirs.encode_special_tokens = not match_special
        found = theirs.encode(text, add_special_tokens=bool(add_special))
        at = [len(text[:i].encode()) for i in range(len(text) + 1)]
        decoded = [theirs.decode(found.ids, skip_special_tokens=skip) for skip in (False, True)]
        decoded = ["=" if d == text else d.encode().hex() for d in decoded]
        yield "\t".join(["v", str(match_special), str(add_special), text.encode().hex(), ",".join(map(str, found.ids)),
                         *(",".join(str(at[offset[side]]) for offset in found.offsets) for side in (0, 1)), *decoded])


def texts_of(name, theirs, extra=()):
    some = unicode_strings.strings(sum(map(ord, name)), TEXTS, [*added(theirs), *extra], parts=4, run=4)
    return ["Hello the  World's 12 naïve \n", *some, " 世界 A\u030ab"]


def rule_lines():
    """Merges of the shared vocabularies go with the flags: a prefix changes them."""
    bases = {"bytes": rules.BYTES, "characters": rules.CHARACTERS}
    for name, described in bases.items():
        yield "\t".join(["b", name, inside({"type": "BPE", "vocab": described["model"]["vocab"]})])
        yield "\t".join(["b", name + "+merges", inside({key: described["model"][key] for key in ("type", "vocab", "merges")})])
    told = set()
    for name, vocabulary, sections, flags in rules.cases():
        described = json.loads(json.dumps(vocabulary))
        described.update(decoder=None, post_processor=None, normalizer=None)
        described.update(sections)
        described["model"].update(flags)
        rules.keep_merges(described)
        theirs = Tokenizer.from_str(json.dumps(described))
        theirs.add_tokens(rules.ADDED)
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            theirs.save(file.name)
            theirs = Tokenizer.from_file(file.name)
            whole = json.loads(Path(file.name).read_text())
        model = whole.pop("model")
        base = next(key for key, value in bases.items() if value is vocabulary)
        same = [list(m) if isinstance(m, list) else m.split(" ") for m in vocabulary["model"]["merges"]] == model["merges"]
        model = {key: value for key, value in model.items() if key not in ("type", "vocab", *(["merges"] if same else []))}
        tokens = inside({"added_tokens": whole.pop("added_tokens")})
        if base not in told:
            yield "\t".join(["b", base + "+added", tokens])
            told.add(base)
        yield f"= {name}"
        yield "\t".join(["j", base + "+merges" if same else base, inside(whole), inside(model)])
        yield from vectors(theirs, texts_of(name, theirs, rules.EXTRA))


def files_lines(name, files):
    yield f"= {name}"
    for file, data in files.items():
        yield "\t".join(["f", file, data.hex()])


def home_lines():
    vocab, merges = homes.small_model()
    for i, (config, beside, tokens, around, space) in enumerate(homes.CONFIGS):
        theirs = homes.gpt2(vocab, merges, tokens, space)
        if around != (None, None):
            homes.frame(theirs, *around)
        yield from files_lines(f"pair{i}", homes.pair_files(vocab, merges, config, **beside))
        yield from vectors(theirs, texts_of(f"pair{i}", theirs))
    for listed in (False, True):
        document = homes.small_tekken(listed)
        yield from files_lines(f"tekken{listed}", {"tekken.json": json.dumps(document).encode()})
        theirs = homes.tekken_reference(document)
        yield from vectors(theirs, texts_of("tekken", theirs, [" the of", "<s>x", "aaaaaaa"]))


def sentencepiece_lines():
    """Pieces with the scores of a BPE's merges: its tokenizer.json has the ids."""
    whole = json.loads((ROOT / "fuzz" / "corpus" / "folder" / "linear").read_bytes().split(b"\xff")[5])
    merges = [m.split(" ") for m in whole["model"]["merges"]]
    vocab = {f"<0x{b:02X}>": 3 + b for b in range(256)}
    vocab.update({"<unk>": 0, "<s>": 1, "</s>": 2})
    for token in whole["model"]["vocab"]:
        if token not in vocab:
            vocab[token] = len(vocab)
    whole["model"]["vocab"] = vocab
    for token in whole["added_tokens"]:
        token["id"] = vocab[token["content"]]
    scores = {"".join(merge): -rank for rank, merge in enumerate(merges)}
    kinds = {0: 2, 1: 3, 2: 3}
    listed = [(token, scores.get(token, -1e9), kinds.get(i, 6 if i < 259 else 1)) for token, i in sorted(vocab.items(), key=lambda v: v[1])]
    theirs = Tokenizer.from_str(json.dumps(whole))
    yield from files_lines("sentencepiece", {"tokenizer.model": pieces.model(listed)})
    yield from vectors(theirs, [*texts_of("sentencepiece", theirs), "tab hell  he<s>", "abab  tell"])


def refused_lines():
    cases = [(files, fragment) for files, _, fragment in homes.REFUSED]
    for fault, fragment in homes.TEKKEN_FAULTS:
        document = homes.small_tekken(True)
        document["config"]["default_vocab_size"] -= len(document["vocab"]) - 8
        del document["vocab"][8:]
        fault(document)
        cases.append(({"tekken.json": json.dumps(document).encode()}, fragment))
    for mark in pieces.test_refused.pytestmark:
        cases += [({"tokenizer.model": data}, fragment) for data, _, fragment in mark.args[1] if data]
    for i, (files, fragment) in enumerate(cases):
        if set(files) <= KNOWN:
            yield from files_lines(f"refused{i}", files)
            yield f"r\t{fragment}"


def main():
    assert tokenizers.__version__ == "0.23.3", tokenizers.__version__
    random.seed(1)
    with open(OUT, "w") as out:
        for part in (rule_lines, home_lines, sentencepiece_lines, refused_lines):
            for line in part():
                print(line, file=out)


if __name__ == "__main__":
    main()
