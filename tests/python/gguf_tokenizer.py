"""The reference tokenizer of a GGUF file with byte-level BPE: built with the tokenizers package from the file's own tokens
and merges. (transformers' conversion of the `smollm` pre-tokenizer forgets that every digit stands alone.)"""

import functools
import json

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

CONTROL = 3  # gguf.TokenType.CONTROL: a special token
USER_DEFINED = 4


@functools.lru_cache(maxsize=2)
def reader(path):
    """A file that does not change: the package takes seconds for a vocabulary, so that tests share what it read."""
    return gguf.GGUFReader(path)


@functools.lru_cache(maxsize=2)
def fields(path):
    """Metadata of such a file as Python values, without its tensors' data. Shared: to be read only."""
    return {name: field.contents() for name, field in reader(path).fields.items()}


def build(path):
    """A tokenizers.Tokenizer for a file whose tokenizer.ggml.pre is `smollm`."""
    meta = fields(path)
    if meta["tokenizer.ggml.pre"] != "smollm":
        raise ValueError(f"{path}: pre-tokenizer {meta['tokenizer.ggml.pre']!r}, expected 'smollm'")
    tokens, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    added = [(token, kind) for token, kind in zip(tokens, types) if kind in (CONTROL, USER_DEFINED)]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in added if k == CONTROL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t, k in added if k == USER_DEFINED])
    return tokenizer


def save(path, target):
    """Writes the tokenizer of a GGUF file as tokenizer.json."""
    text = build(path).to_str(pretty=True)
    json.loads(text)
    with open(target, "w", encoding="utf-8") as file:
        file.write(text)
