#!/usr/bin/env python3
"""Writes tiny GGUF files, with any field overridden. Standard library only.

As a program: mkgguf.py OUT [--ne 2^42+1,1152] [--type f32] [--n-tensors 2^61] ... writes a small valid llama file with
the named fields replaced (see --help). As a module: Gguf holds key-value pairs and tensors and packs them; every count,
length and offset has an override.
"""
import argparse
import pathlib
import struct
from dataclasses import dataclass, field

VALUE_TYPES = {"u8": 0, "i8": 1, "u16": 2, "i16": 3, "u32": 4, "i32": 5, "f32": 6, "bool": 7, "string": 8, "array": 9,
               "u64": 10, "i64": 11, "f64": 12}
FORMATS = {"u8": "<B", "i8": "<b", "u16": "<H", "i16": "<h", "u32": "<I", "i32": "<i", "f32": "<f", "bool": "<B",
           "u64": "<Q", "i64": "<q", "f64": "<d"}
# name: (id, elements of a block, bytes of a block)
TENSOR_TYPES = {
    "f32": (0, 1, 4), "f16": (1, 1, 2), "q4_0": (2, 32, 18), "q4_1": (3, 32, 20), "q5_0": (6, 32, 22),
    "q5_1": (7, 32, 24), "q8_0": (8, 32, 34), "q8_1": (9, 32, 40), "q2_k": (10, 256, 84), "q3_k": (11, 256, 110),
    "q4_k": (12, 256, 144), "q5_k": (13, 256, 176), "q6_k": (14, 256, 210), "q8_k": (15, 256, 292),
    "iq2_xxs": (16, 256, 66), "iq2_xs": (17, 256, 74), "iq3_xxs": (18, 256, 98), "iq1_s": (19, 256, 50),
    "iq4_nl": (20, 32, 18), "iq3_s": (21, 256, 110), "iq2_s": (22, 256, 82), "iq4_xs": (23, 256, 136),
    "i8": (24, 1, 1), "i16": (25, 1, 2), "i32": (26, 1, 4), "i64": (27, 1, 8), "f64": (28, 1, 8), "iq1_m": (29, 256, 56),
    "bf16": (30, 1, 2), "tq1_0": (34, 256, 54), "tq2_0": (35, 256, 66), "mxfp4": (39, 32, 17), "nvfp4": (40, 64, 36),
    "q1_0": (41, 128, 18)}


def u32(n: int) -> bytes:
    return struct.pack("<I", n % 2**32)


def u64(n: int) -> bytes:
    return struct.pack("<Q", n % 2**64)


def string(text, length: int | None = None) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return u64(len(data) if length is None else length) + data


@dataclass
class Value:
    """kind: a name of VALUE_TYPES, or its number. An array has element (a name) and a list."""
    key: str | bytes
    kind: str | int
    value: object
    element: str = "u32"
    key_length: int | None = None
    length: int | None = None  # of the string or array
    element_id: int | None = None

    def pack(self) -> bytes:
        kind = self.kind if isinstance(self.kind, int) else VALUE_TYPES[self.kind]
        out = string(self.key, self.key_length) + u32(kind)
        if self.kind == "array":
            items = b"".join(encode(self.element, v) for v in self.value)
            element = VALUE_TYPES[self.element] if self.element_id is None else self.element_id
            return out + u32(element) + u64(len(self.value) if self.length is None else self.length) + items
        if self.kind == "string":
            return out + string(self.value, self.length)
        if isinstance(self.value, bytes):
            return out + self.value
        return out + encode(self.kind, self.value)


def encode(kind: str, value) -> bytes:
    return string(value) if kind == "string" else struct.pack(FORMATS[kind], value)


@dataclass
class Tensor:
    name: str | bytes
    ne: list[int]  # innermost first, as in the file
    kind: str | int = "f32"
    data: bytes | None = None  # zeros of the right size
    offset: int | None = None
    n_dims: int | None = None
    name_length: int | None = None

    def size(self) -> int:
        if isinstance(self.kind, int):
            return 32
        _, elements, block = TENSOR_TYPES[self.kind]
        count = 1
        for n in self.ne:
            count *= n
        return count // elements * block

    def pack(self, offset: int) -> bytes:
        kind = self.kind if isinstance(self.kind, int) else TENSOR_TYPES[self.kind][0]
        dims = len(self.ne) if self.n_dims is None else self.n_dims
        place = offset if self.offset is None else self.offset
        head = string(self.name, self.name_length) + u32(dims)
        return head + b"".join(u64(n) for n in self.ne) + u32(kind) + u64(place)


@dataclass
class Gguf:
    values: list[Value] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    magic: bytes = b"GGUF"
    version: int = 3
    n_tensors: int | None = None
    n_kv: int | None = None
    alignment: int = 32  # of the layout; the key is a Value
    data_limit: int = 1 << 20  # a tensor of more bytes gets none

    def pack(self) -> bytes:
        count = len(self.tensors) if self.n_tensors is None else self.n_tensors
        pairs = len(self.values) if self.n_kv is None else self.n_kv
        head = self.magic + u32(self.version) + u64(count) + u64(pairs)
        head += b"".join(v.pack() for v in self.values)
        data = b""
        for tensor in self.tensors:
            data += bytes(-len(data) % self.alignment)
            head += tensor.pack(len(data))
            body = tensor.data
            if body is None:
                body = bytes(tensor.size() if tensor.size() <= self.data_limit else 0)
            data += body
        head += bytes(-len(head) % self.alignment)
        return head + data

    def set(self, key: str, kind, value, **more) -> "Gguf":
        """Replaces the pair of that key, or adds it."""
        pair = Value(key, kind, value, **more)
        for i, old in enumerate(self.values):
            if old.key == key:
                self.values[i] = pair
                return self
        self.values.append(pair)
        return self

    def drop(self, key: str) -> "Gguf":
        self.values = [v for v in self.values if v.key != key]
        return self


def tiny_llama() -> Gguf:
    """A valid header of a llama model: hidden 32, 4 heads, 2 kv heads, 1 layer, 8 tokens; with two of its tensors."""
    g = Gguf()
    g.set("general.architecture", "string", "llama").set("general.name", "string", "tiny")
    for key, value in {"block_count": 1, "context_length": 64, "embedding_length": 32, "feed_forward_length": 64,
                       "attention.head_count": 4, "attention.head_count_kv": 2, "rope.dimension_count": 8}.items():
        g.set("llama." + key, "u32", value)
    g.set("llama.attention.layer_norm_rms_epsilon", "f32", 1e-5).set("llama.rope.freq_base", "f32", 10000.0)
    g.set("tokenizer.ggml.model", "string", "gpt2").set("tokenizer.ggml.pre", "string", "smollm")
    g.set("tokenizer.ggml.tokens", "array", list("abcdefgh"), element="string")
    g.set("tokenizer.ggml.bos_token_id", "u32", 1).set("tokenizer.ggml.eos_token_id", "u32", 2)
    g.tensors = [Tensor("token_embd.weight", [32, 8], "q8_0"), Tensor("output_norm.weight", [32])]
    return g


def number(text: str) -> int:
    """2^63-1, 17, 0x20"""
    total = 0
    for part in text.replace("-", "+-").split("+"):
        if not part:
            continue
        sign, part = (-1, part[1:]) if part.startswith("-") else (1, part)
        base, _, power = part.partition("^")
        total += sign * (int(base, 0) ** int(power) if power else int(base, 0))
    return total


def numbers(text: str) -> list[int]:
    return [number(part) for part in text.split(",")]


def kind_of(text: str):
    return text if text in TENSOR_TYPES or text in VALUE_TYPES else number(text)


def build(options: argparse.Namespace) -> bytes:
    g = tiny_llama()
    first = g.tensors[0]
    g.version, g.n_tensors, g.n_kv = options.version, options.n_tensors, options.n_kv
    g.magic = options.magic.encode("latin-1")
    if options.arch:
        g.set("general.architecture", "string", options.arch)
    for pair in options.set:
        key, kind, value = pair.split(":", 2)
        g.set(key, kind, value if kind == "string" else float(value) if kind in ("f32", "f64") else number(value))
    for key in options.drop:
        g.drop(key)
    if options.align is not None:
        g.set("general.alignment", options.align_type, options.align)
    if options.key is not None or options.key_len is not None:
        g.values.append(Value("k" if options.key is None else options.key, "u8", 1, key_length=options.key_len))
    if options.str_len is not None:
        g.values.append(Value("text", "string", "abc", length=options.str_len))
    if options.arr_len is not None or options.arr_type is not None:
        g.values.append(Value("list", "array", [1, 2], length=options.arr_len, element_id=options.arr_type))
    if options.value_type is not None:
        g.values.append(Value("odd", options.value_type, bytes(8)))
    if options.nest_arrays:
        body = (u32(9) + u64(1)) * options.nest_arrays + u32(4) + u64(0)
        g.values.append(Value("nested", 9, body))
    if options.ne is not None:
        first.ne = options.ne
    first.n_dims, first.offset, first.name_length = options.n_dims, options.offset, options.name_len
    if options.type is not None:
        first.kind = options.type
    if options.name is not None:
        first.name = options.name
    data = g.pack() + bytes(options.append)
    return data if options.truncate is None else data[: options.truncate]


def main() -> None:
    p = argparse.ArgumentParser(description="Write a tiny GGUF file with fields overridden.")
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--magic", default="GGUF")
    p.add_argument("--version", type=number, default=3)
    for flag, text in {"n-tensors": "tensor count", "n-kv": "pair count", "key-len": "length of an added key",
                       "str-len": "length of an added string", "arr-len": "length of an added array",
                       "arr-type": "element type of an added array", "value-type": "type of an added value",
                       "name-len": "length of the first tensor's name", "n-dims": "rank of the first tensor",
                       "offset": "offset of the first tensor", "align": "general.alignment",
                       "truncate": "length of the file"}.items():
        p.add_argument("--" + flag, type=number, help=text)
    p.add_argument("--nest-arrays", type=number, default=0, help="depth of an added array of arrays")
    p.add_argument("--append", type=number, default=0, help="zero bytes after the end")
    p.add_argument("--align-type", default="u32")
    p.add_argument("--key", help="an added key")
    p.add_argument("--name", help="the first tensor's name")
    p.add_argument("--ne", type=numbers, help="the first tensor's dimensions, innermost first")
    p.add_argument("--type", type=kind_of, help="the first tensor's type")
    p.add_argument("--arch", help="general.architecture")
    p.add_argument("--set", action="append", default=[], metavar="KEY:TYPE:VALUE")
    p.add_argument("--drop", action="append", default=[], metavar="KEY")
    options = p.parse_args()
    options.out.write_bytes(build(options))


if __name__ == "__main__":
    main()
