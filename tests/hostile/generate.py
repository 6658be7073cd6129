"""Makes some 2,500 files and folders that break a rule of their format, from small good ones: what tests/hostile/ keeps as files came
from other projects' faults; this goes over every member, length and type in turn.

    for case in cases(base):      base: a Base, which knows the good files
        case.write(folder)        writes it there
        case.arguments(folder)    what `viva` is asked to do with it

Deterministic: case i is the same file everywhere. Each breaks one rule, at least; what is odd but allowed is left out.
"""

import json
import random
import struct
import subprocess
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


@dataclass
class Case:
    kind: str
    name: str
    files: dict  # path in the folder: bytes
    command: list  # of viva; {} stands for the folder
    base: Path | None = None  # files that are not in `files` are links to this folder's

    def write(self, folder):
        for path in self.base.iterdir() if self.base else []:
            if path.name not in self.files:
                (folder / path.name).symlink_to(path)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)

    def arguments(self, folder):
        return [str(word).replace("{}", str(folder)) for word in self.command]

    @property
    def size(self):
        return sum(map(len, self.files.values()))


@dataclass
class Base:
    """Good files, made once by the program itself."""
    folder: Path
    program: str
    made: dict = field(default_factory=dict)

    def make(self, name, *arguments):
        path = self.folder / name
        if not path.exists():
            subprocess.run([self.program, *map(str, arguments)], check=True, capture_output=True, timeout=60)
        return path

    def model(self):
        return self.make("model", "quantize", GOLDEN / "tiny.gguf", self.folder / "model", "--format", "fp8", "-q")

    def container(self, codec):
        return self.make(codec + ".viva", "compress", GOLDEN / "tiny.gguf", "--tensor", "blk.0.attn_k.weight", "-o",
                         self.folder / (codec + ".viva"), "--codec", codec, "-q")


# ---- what stands in the place of a good value

HUGE = [2**31, 2**32, 2**53 + 1, 2**63, 2**64, -1, -2**63, 1e308]
TYPES = [None, True, "", "x", [], {}, [[1]], {"a": 1}, "\u0000", 0.5]


def different_type(value):
    """Values of every JSON type but the one that is there."""
    kinds = {bool: "bool", int: "number", float: "number", str: "text", list: "list", dict: "object", type(None): "null"}
    mine = kinds[type(value)]
    return [v for v in (None, True, 7, "x", [7], {"x": 7}) if kinds[type(v)] != mine]


def paths(value, at=()):
    """Every place in a JSON document."""
    yield at, value
    if isinstance(value, dict):
        for key in value:
            yield from paths(value[key], (*at, key))
    if isinstance(value, list):
        for i, item in enumerate(value[:2]):
            yield from paths(item, (*at, i))


def put(document, at, value):
    copy = json.loads(json.dumps(document))
    if not at:
        return value
    inside = copy
    for key in at[:-1]:
        inside = inside[key]
    inside[at[-1]] = value
    return copy


def dumps(value):
    return json.dumps(value, separators=(",", ":")).encode()


def named(at):
    return ".".join(map(str, at)) or "all"


def broken_json(text):
    """The document's text made no JSON, at places spread over it."""
    for i in range(1, 12):
        yield f"cut{i}", text[:len(text) * i // 12]
    yield from {"bom": b"\xef\xbb\xbf" + text, "behind": text + b"x", "twice": text + text, "empty": b"", "zero": b"\0" * 16,
                "utf8": text.replace(b'"', b'"\xff', 1), "control": text.replace(b'"', b'"\x01', 1), "comma": text[:-1] + b"," + text[-1:],
                "quotes": text.replace(b'"', b"'"), "nan": text.replace(b":", b":NaN,", 1), "deep": b"[" * 100000,
                "deep_object": b'{"a":' * 50000, "surrogate": text.replace(b'"', b'"\\ud800', 1),
                "escape": text.replace(b'"', b'"\\x', 1), "colon": text.replace(b":", b"", 1)}.items()


# ---- safetensors

def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else dumps(header)
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def safetensors_cases():
    good = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}}
    data = bytes(32)

    def case(name, file):
        return Case("safetensors", name, {"model.safetensors": file}, ["inspect", "{}/model.safetensors"])

    for name, text in broken_json(dumps(good)):
        yield case("json_" + name, safetensors(text, data))
    for at, value in paths(good):
        for i, other in enumerate(different_type(value)):
            yield case(f"{named(at)}_type{i}", safetensors(put(good, at, other), data))
        if isinstance(value, int):
            for other in HUGE + [value + 1, 0.5, float(value) + 0.25]:
                if other != value:
                    yield case(f"{named(at)}_{other}", safetensors(put(good, at, other), data))
        if isinstance(value, str):
            for other in ("f32", "F32 ", "F33", "F" * 5000, "\u00e9", "F32\u0000"):
                yield case(f"{named(at)}_{other[:6]!r}", safetensors(put(good, at, other), data))
        if isinstance(value, list):
            for other in (value + [2], value[:-1], value + [value], [value], value * 5000):
                yield case(f"{named(at)}_list{len(str(other))}", safetensors(put(good, at, other), data))
        if isinstance(value, dict) and at:
            for key in value:
                yield case(f"{named(at)}_without_{key}", safetensors(put(good, at, {k: v for k, v in value.items() if k != key}), data))
            yield case(f"{named(at)}_member", safetensors(put(good, at, value | {"more": 1}), data))
    for bytes_there in (0, 1, 31, 33, 64):
        yield case(f"data_{bytes_there}", safetensors(good, bytes(bytes_there)))
    for length in (0, 1, 2, len(dumps(good)) - 1, len(dumps(good)) + 1, 10**8 + 1, 2**31, 2**32, 2**63, 2**64 - 8):
        yield case(f"length_{length}", safetensors(good, data, length))
    for text in ("x" * 256, "x" * 100000, "a\u0000b"):
        yield case(f"name_{len(text)}", safetensors({text: good["a"]}, data[:24]))
    for metadata in (1, [], "x", {"a": 1}, {"a": None}, {"a": {}}, {"a": ["b"]}):
        yield case(f"metadata_{str(metadata)[:9]}", safetensors({"__metadata__": metadata} | good, data))
    yield case("double_name", safetensors(dumps(good)[:-1] + b"," + dumps(good)[1:], data))


# ---- GGUF

GGUF_TYPES = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
BIG = [2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**60, 2**62, 2**63 - 1, 2**63, 2**64 - 1]


def text(data, length=None):
    data = data if isinstance(data, bytes) else data.encode()
    return struct.pack("<Q", len(data) if length is None else length) + data


def gguf(values=(), tensors=(), data=b"", version=3, n_values=None, n_tensors=None, magic=b"GGUF"):
    head = magic + struct.pack("<IQQ", version, len(tensors) if n_tensors is None else n_tensors,
                               len(values) if n_values is None else n_values) + b"".join(values) + b"".join(tensors)
    return head + b"\0" * (-len(head) % 32) + data


def tensor(name="t", dims=(8,), type_=0, offset=0, rank=None, length=None):
    return (text(name, length) + struct.pack("<I", len(dims) if rank is None else rank) +
            b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", type_, offset))


def gguf_cases():
    pair = text("key") + struct.pack("<II", 4, 7)

    def case(name, file):
        return Case("gguf", name, {"model.gguf": file}, ["inspect", "{}/model.gguf"])

    good = gguf([pair, text("s") + struct.pack("<I", 8) + text("value")], [tensor()], bytes(32))
    for i in range(1, 60):
        yield case(f"cut_{i}", good[:len(good) * i // 60])
    for magic in (b"GGUX", b"gguf", b"GGML", b"FUGG", b"\0\0\0\0", b"GGU"):
        yield case(f"magic_{magic.hex()}", gguf([pair], [tensor()], bytes(32), magic=magic))
    for version in (0, 1, 4, 5, 2**16, 2**31, 2**32 - 1, 0x03000000):
        yield case(f"version_{version}", gguf([pair], [tensor()], bytes(32), version=version))
    for count in [2, 3, 100, *BIG]:
        yield case(f"values_{count}", gguf([pair], [tensor()], bytes(32), n_values=count))
        yield case(f"tensors_{count}", gguf([pair], [tensor()], bytes(32), n_tensors=count))
    for length in [0, 200, 4096, 65535, *BIG]:
        yield case(f"key_{length}", gguf([text("key", length) + struct.pack("<II", 4, 7)], [tensor()], bytes(32)))
        yield case(f"name_{length}", gguf([pair], [tensor(length=length)], bytes(32)))
        if length:
            yield case(f"string_{length}", gguf([text("k") + struct.pack("<I", 8) + text("v", length)], [tensor()], bytes(32)))
    for type_ in [13, 14, 15, 100, 255, 256, 2**16, *BIG[:3]]:
        yield case(f"type_{type_}", gguf([text("k") + struct.pack("<II", type_, 7)], [tensor()], bytes(32)))
        yield case(f"array_type_{type_}", gguf([text("k") + struct.pack("<IIQ", 9, type_, 1) + bytes(8)], [tensor()], bytes(32)))
    for of in [*GGUF_TYPES, 8]:
        for count in (200, 10**6, *BIG):
            yield case(f"array_{of}_{count}", gguf([text("k") + struct.pack("<IIQ", 9, of, count) + bytes(16)], [tensor()], bytes(32)))
    for rank in (5, 8, 9, 255, *BIG[:3]):
        yield case(f"rank_{rank}", gguf([pair], [tensor(rank=rank)], bytes(32)))
    for type_ in (4, 5, 31, 36, 37, 38, 99, 255, *BIG[:3]):
        yield case(f"element_{type_}", gguf([pair], [tensor(type_=type_)], bytes(32)))
    for size in [0, 9, 16, 1000, *BIG]:
        yield case(f"dimension_{size}", gguf([pair], [tensor(dims=(size,))], bytes(32)))
        if size not in (9, 16, 1000):
            yield case(f"dimensions_{size}", gguf([pair], [tensor(dims=(2, size))], bytes(32)))
            yield case(f"product_{size}", gguf([pair], [tensor(dims=(size, size, size))], bytes(32)))
    for offset in (1, 4, 16, 31, 32, 64, 2**20, *BIG):
        yield case(f"offset_{offset}", gguf([pair], [tensor(offset=offset)], bytes(32)))
    for type_ in (2, 3, 6, 7, 8, 10, 11, 12, 13, 14):
        yield case(f"blocks_{type_}", gguf([pair], [tensor(dims=(31,), type_=type_)], bytes(4096)))
    for name in (b"\xff", b"a\0b", b"\xed\xa0\x80", b"", b"n" * 70000):
        yield case(f"bytes_of_name_{name[:4].hex()}", gguf([pair], [tensor(name)], bytes(32)))
        yield case(f"bytes_of_key_{name[:4].hex()}", gguf([text(name) + struct.pack("<II", 4, 7)], [tensor()], bytes(32)))
    yield case("double_key", gguf([pair, pair], [tensor()], bytes(32)))
    yield case("double_tensor", gguf([pair], [tensor(), tensor(offset=32)], bytes(64)))
    yield case("same_place", gguf([pair], [tensor("a"), tensor("b")], bytes(64)))
    for alignment in (0, 1, 3, 5, 31, 33, 48, 2**30, 2**31, 2**32 - 1):
        yield case(f"alignment_{alignment}", gguf([text("general.alignment") + struct.pack("<II", 4, alignment)], [tensor()], bytes(32)))


# ---- folders

def config_cases(base):
    good = json.loads((base.model() / "config.json").read_text())
    good.pop("quantization_config")
    plain = base.make("plain", "quantize", GOLDEN / "tiny.gguf", base.folder / "plain", "--format", "bf16", "-q")

    def case(name, document):
        data = document if isinstance(document, bytes) else dumps(document)
        return Case("config", name, {"config.json": data}, ["generate", "-m", "{}", "-p", "a", "-n", "1"], base=plain)

    for name, data in broken_json(dumps(good)):
        yield case("json_" + name, data)
    for key, value in good.items():
        if key in ("torch_dtype", "head_dim", "bos_token_id", "sliding_window"):
            continue
        for i, other in enumerate(different_type(value)):
            if not (other is None and key in ("num_key_value_heads", "max_position_embeddings", "eos_token_id", "rope_theta", "hidden_act",
                                              "attention_bias", "mlp_bias", "tie_word_embeddings", "rms_norm_eps", "model_type", "architectures")
                    or (key == "eos_token_id" and isinstance(other, (int, list))) or (key == "architectures" and isinstance(other, str))):
                yield case(f"{key}_type{i}", good | {key: other})
        if type(value) is int and key not in ("eos_token_id", "rope_theta"):
            for other in (0, -1, 2**31, 2**32, 2**63, 2**64, 1e308, value + 0.5):
                yield case(f"{key}_{other}", good | {key: other})
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
        yield case(f"without_{key}", {k: v for k, v in good.items() if k != key})
        for other in (good[key] + 1, good[key] * 2, good[key] * 1000):
            yield case(f"{key}_is_{other}", good | {key: other})
    for kind in ("linear", "dynamic", "yarn", "llama3", "x", "", "longrope"):
        for factor in ("x", 0, -1, [], 1e308):
            yield case(f"rope_{kind}_{factor}", good | {"rope_scaling": {"rope_type": kind, "factor": factor}})
    for i, other in enumerate((1, "x", [], True)):
        yield case(f"rope_scaling_type{i}", good | {"rope_scaling": other})


def index_cases(base):
    header = {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    shard = {"s.safetensors": safetensors(header, b"\0"), "t.safetensors": safetensors({"b": header["a"]}, b"\0")}
    good = {"metadata": {"total_size": 2}, "weight_map": {"a": "s.safetensors", "b": "t.safetensors"}}

    def case(name, document):
        data = document if isinstance(document, bytes) else dumps(document)
        return Case("index", name, {"model.safetensors.index.json": data, **shard}, ["inspect", "{}/model.safetensors.index.json"])

    for name, data in broken_json(dumps(good)):
        yield case("json_" + name, data)
    for at, value in paths(good):
        if "metadata" not in at:
            for i, other in enumerate(different_type(value)):
                yield case(f"{named(at)}_type{i}", put(good, at, other))
    for name in ("", ".", "..", "/", "/etc/passwd", "../s.safetensors", "./s.safetensors", "x/../s.safetensors", "s.safetensors/", "a\\b",
                 "s.safetensors\u0000", "missing.safetensors", "x" * 300, "x" * 100000, "\u202e"):
        yield case(f"shard_{name[:12]!r}", put(good, ("weight_map", "a"), name))
    yield case("empty_map", good | {"weight_map": {}})
    for i in range(1, 12):
        cut = shard["s.safetensors"]
        yield Case("index", f"cut_shard_{i}", {"model.safetensors.index.json": dumps(good), **shard, "s.safetensors": cut[:len(cut) * i // 12]},
                   ["inspect", "{}/model.safetensors.index.json"])


# What says nothing about weights, and what may be left out.
IGNORED = ("quantization_status", "kv_cache_scheme", "symmetric", "dynamic", "input_activations", "output_activations", "group_size")


def quant_cases(base):
    for rule in ("fp8", "nvfp4", "fp8-b16", "int8-24", "int4-24"):
        folder = base.make("as_" + rule, "quantize", GOLDEN / "tiny.gguf", base.folder / ("as_" + rule), "--format", rule, "-q", "--force")
        good = json.loads((folder / "config.json").read_text())
        section = good["quantization_config"]

        def case(name, document, rule=rule, folder=folder, good=good):
            return Case("quant", f"{rule}_{name}", {"config.json": dumps(good | {"quantization_config": document})},
                        ["generate", "-m", "{}", "-p", "a", "-n", "1"], base=folder)

        for at, value in paths(section):
            if any(key in IGNORED for key in at):
                continue
            for i, other in enumerate(different_type(value)):
                if other is not None:
                    yield case(f"{named(at)}_type{i}", put(section, at, other))
            if type(value) is int:
                for other in (0, -1, 3, 2**31, 2**32, 2**63, 1e308):
                    yield case(f"{named(at)}_{other}", put(section, at, other))
            if isinstance(value, str):
                yield case(f"{named(at)}_other", put(section, at, "other"))
            for key in ("config_groups", "targets", "weights", "type", "modules"):
                if isinstance(value, dict) and key in value:
                    yield case(f"{named(at)}_without_{key}", put(section, at, {k: v for k, v in value.items() if k != key}))
        for pattern in ("re:(", "re:[", "re:*", "re:a{2,1}", "re:\\", "re:(?<=a)b", "re:" + "(" * 5000, "re:(a*)*" * 60, "re:\\1", "re:[z-a]"):
            if "config_groups" in section:
                yield case(f"pattern_{pattern[:8]}", put(section, ("config_groups", "group_0", "targets"), [pattern]))
        data = (folder / "model.safetensors").read_bytes()
        for i in range(1, 12):
            yield Case("quant", f"{rule}_cut_{i}", {"model.safetensors": data[:len(data) * i // 12]}, ["generate", "-m", "{}", "-p", "a", "-n", "1"],
                       base=folder)


# ---- arrays and containers

def npy(header, data=b"", version=(1, 0), length=None, magic=b"\x93NUMPY"):
    header = header if isinstance(header, bytes) else header.encode()
    size = len(header) if length is None else length
    return magic + bytes(version) + (struct.pack("<H", size & 0xFFFF) if version[0] == 1 else struct.pack("<I", size & 0xFFFFFFFF)) + header + data


def npy_cases(base):
    good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"

    def padded(header):
        return header + " " * (-(10 + len(header) + 1) % 64) + "\n"

    def case(name, file, ending="npy"):
        return Case("npy", name, {f"a.{ending}": file}, ["compress", f"{{}}/a.{ending}", "-o", "{}/out.viva", "-q"])

    whole = npy(padded(good), bytes(24))
    for i in range(40):
        yield case(f"cut_{i}", whole[:len(whole) * i // 40])
    for i, magic in enumerate((b"\x93NUMPX", b"\x92NUMPY", b"NUMPY\x93", b"\0\0\0\0\0\0")):
        yield case(f"magic_{i}", npy(padded(good), bytes(24), magic=magic))
    for version in ((0, 0), (4, 0), (255, 255), (2, 0), (0, 1)):
        yield case(f"version_{version[0]}", npy(padded(good), bytes(24), version=version, length=2**31 if version[0] > 1 else None))
    for length in (0, 1, 50, 65535):
        yield case(f"length_{length}", npy(padded(good), bytes(24), length=length))
    for descr in ("f4", "<f3", "<f16", "<f99999999999999999999", "|O", "<U5", "<M8[ns]", "", "<c8", ">", "|V8", "<i", "=f4x", "<f4" * 1000):
        yield case(f"descr_{descr[:9]!r}", npy(padded(good.replace("<f4", descr)), bytes(24)))
    for shape in ("(2, 4)", "(2**3,)", "(-1, 3)", "(2, -3)", "(9223372036854775807, 2)", "(18446744073709551616,)", "(4294967296, 4294967296)", "2", "[2, 3]",
                  "(2.0, 3)", "('2', 3)", "(2 3)", "(2, 3", "((2, 3))", "(" + "1," * 5000 + ")", "(" * 5000, "None", "(2, , 3)", "(0x2, 3)", "(True, 3)"):
        yield case(f"shape_{shape[:14]}", npy(padded(good.replace("(2, 3)", shape)), bytes(24)))
    for i, header in enumerate(("", "{}", "{", "}", "[]", "'descr'", "{'descr': '<f4'}", good.replace("False", "Maybe"), good.replace("'descr'", "'desc'"),
                                good.replace("}", ""), good + good, good.replace("}", "'x': 1}"), good.replace("'", '"""'), "\0" * 64, "{'descr':" * 5000)):
        yield case(f"header_{i}", npy(padded(header), bytes(24)))
    path = base.folder / "good.npz"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a.npy", (2026, 1, 1, 0, 0, 0))
        archive.writestr(info, whole)
    archive = path.read_bytes()
    for i in range(1, 30):
        yield case(f"zip_cut_{i}", archive[:len(archive) * i // 30], "npz")
    central = archive.rindex(b"PK\x01\x02")
    for at, what in ((central + 10, "method"), (central + 16, "crc"), (central + 20, "packed"), (central + 24, "size"), (central + 28, "name"),
                     (central + 42, "offset"), (len(archive) - 6, "directory"), (len(archive) - 10, "directory_size"), (len(archive) - 12, "count")):
        for value in (b"\xff\xff", b"\x00\x80"):
            yield case(f"zip_{what}_{value.hex()}", archive[:at] + value + archive[at + 2:], "npz")


def container_cases(base):
    chance = random.Random(11)
    for codec in ("nvfp4", "affine"):
        whole = base.container(codec).read_bytes()

        def case(name, data, codec=codec):
            return Case("container", f"{codec}_{name}", {"a.viva": data}, ["decompress", "{}/a.viva", "-o", "{}/out.npz", "-q"])

        for i in range(30):
            yield case(f"cut_{i}", whole[:len(whole) * i // 30])
        # Zeros may be the padding between records, which means nothing.
        for i in sorted({*range(0, 64, 2), *(i for i in (chance.randrange(64, len(whole)) for _ in range(100)) if whole[i])}):
            yield case(f"flip_{i}", whole[:i] + bytes([whole[i] ^ (1 << chance.randrange(8))]) + whole[i + 1:])
        for size in (1, 8, 4096):
            yield case(f"behind_{size}", whole + bytes(size))
        for at in range(0, 64, 8):
            yield case(f"ones_{at}", whole[:at] + b"\xff" * 8 + whole[at + 8:])


# ---- tokenizers and templates

def tokenizer_cases(base):
    good = json.loads((base.model() / "tokenizer.json").read_text())
    good["model"]["vocab"] = dict(list(good["model"]["vocab"].items())[:260])
    vocab = good["model"]["vocab"]
    good["model"]["merges"] = []

    def case(name, document):
        data = document if isinstance(document, bytes) else dumps(document)
        return Case("tokenizer", name, {"tokenizer.json": data}, ["tokenize", "-m", "{}/tokenizer.json", "-p", "a b"])

    for name, data in broken_json(dumps(good)):
        yield case("json_" + name, data)
    for key in ("added_tokens", "pre_tokenizer", "decoder", "model"):
        for at, value in paths(good[key], (key,)):
            if len(at) > 1 and at[-2] == "vocab" and list(vocab).index(at[-1]) > 3:
                continue
            for i, other in enumerate(different_type(value)):
                may_be_text = value is None and other == "x"
                if other is not None and not may_be_text and not (at == ("model", "vocab") and i > 3):
                    yield case(f"{named(at)[:40]}_type{i}", put(good, at, other))
    for number in (-1, 2**31, 2**32, 2**63, 2**64, 1e308, 0.5):
        yield case(f"id_{number}", put(good, ("model", "vocab", next(iter(vocab))), number))
        yield case(f"added_id_{number}", put(good, ("added_tokens", 0, "id"), number))
    for pattern in ("(", "[", "*", "a{2,1}", "\\", "[z-a]", "(?P<x>a)", "\\p{Nope}", "(" * 20000, "a{99999}"):
        yield case(f"regex_{pattern[:9]}", good | {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                                                                    "invert": False}})
    for i, merges in enumerate((["a"], ["a b c"], [["a"]], [["a", "b", "c"]], ["zz yy"], [["zz", "yy"]], [[1, 2]], [""], [" "], ["a  b"])):
        yield case(f"merges_{i}", put(good, ("model", "merges"), merges))
    for kind in ("WordPiece", "WordLevel", "Unigram", "bpe", ""):
        yield case(f"model_{kind}", put(good, ("model", "type"), kind))
    for section in ("normalizer", "pre_tokenizer", "decoder", "post_processor"):
        for i, part in enumerate(({}, {"type": "Nope"}, {"type": 7}, {"type": "Sequence"}, {"type": "Sequence", "normalizers": 7}, "x", 7, [])):
            yield case(f"{section}_{i}", good | {section: part})
    text = {"Sequence": {"id": "A", "type_id": 0}}
    for i, single in enumerate(([], [text, text], [{"SpecialToken": {}}, text], [{"SpecialToken": {"id": "zz"}}, text], [{"X": {}}, text], [{}], [text] * 300,
                                [{"SpecialToken": {"id": "s"}}] * 300 + [text])):
        yield case(f"template_{i}", good | {"post_processor": {"type": "TemplateProcessing", "single": single,
                                                              "special_tokens": {"": {"ids": [1]}, "s": {"ids": [1]}}}})


def tokenizer_file_cases(base):
    """The other forms: vocab.json with merges.txt, tekken.json, tokenizer.model."""
    model = base.model()
    vocab = dict(json.loads((model / "tokenizer.json").read_text())["model"]["vocab"])
    kept = {f.name: f.read_bytes() for f in model.iterdir() if f.name in ("config.json", "model.safetensors")}

    def case(name, **files):
        return Case("tokenizer_files", name, {**kept, **{k.replace("_", "."): v for k, v in files.items()}}, ["tokenize", "-m", "{}", "-p", "a b"])

    merges = b"#version: 0.2\na b\n"
    for name, data in broken_json(dumps(vocab)):
        yield case("vocab_" + name, vocab_json=data, merges_txt=merges)
    for i, lines in enumerate((b"a\n", b"a b c\n", b"zz yy\n", b" a b\n", b"a\tb\n", b"\xff \xfe\n", b"a b\0\n", b"a " + b"b" * 100000 + b"\n")):
        yield case(f"merges_{i}", vocab_json=dumps(vocab), merges_txt=lines)
    tekken = {"config": {"pattern": "[a-z]+", "num_vocab_tokens": 260, "default_vocab_size": 262, "default_num_special_tokens": 2, "version": "v3"},
              "vocab": [{"rank": i, "token_bytes": "AA==", "token_str": None} for i in range(1)], "special_tokens": []}
    for name, data in broken_json(dumps(tekken)):
        yield case("tekken_" + name, tekken_json=data)
    for at, value in paths(tekken):
        for i, other in enumerate(different_type(value)):
            if other is not None:
                yield case(f"tekken_{named(at)}_type{i}", tekken_json=dumps(put(tekken, at, other)))
    chance = random.Random(5)
    for i in range(40):
        yield case(f"model_{i}", tokenizer_model=bytes(chance.randrange(256) for _ in range(chance.randrange(1, 200))))


TEMPLATES = ["{{", "{%", "{#", "{{ }}", "{% if %}", "{% if a %}", "{% for %}", "{% for a in b %}", "{% endfor %}", "{% endif %}", "{% else %}",
             "{{ a | nope }}", "{{ a is nope }}", "{{ a. }}", "{{ a[ }}", "{{ a( }}", "{{ 'a }}", "{{ 1 + }}", "{{ 1 / 0 }}", "{{ 1 // 0 }}", "{{ 1 % 0 }}",
             "{{ 'a' * 999999999999 }}", "{{ [1] * 999999999999 }}", "{{ 'a' + 1 }}", "{{ nope() }}", "{{ raise_exception('x') }}", "{{ none.x.y }}",
             "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{% set x = %}", "{% import 'x' %}", "{% include 'x' %}", "{% extends 'x' %}",
             "{% for i in range(999999999999) %}a{% endfor %}",
             "{% for i in range(99999) %}{% for j in range(99999) %}a{% endfor %}{% endfor %}",
             "{% set ns = namespace(a='a') %}{% for i in range(64) %}{% set ns.a = ns.a + ns.a %}{% endfor %}{{ ns.a }}",
             "{" * 5000, "{{ " + "(" * 5000, "{{ " + "[" * 5000, "{{ " + "not " * 5000 + "a }}", "{{ " + "-" * 5000 + "1 }}", "{{ 'a'" + ".x" * 5000 + " }}",
             "{% if a %}" * 3000, "{% for a in b %}" * 3000, "{{ " + "1 + " * 20000 + "}}", "{% break %}", "{{ messages[99].content.x }}",
             "{{ 'x'.__class__.__mro__ }}x{{ 1/0 }}", "{{ a b }}", "{{ {'a' 1} }}", "{{ {1: } }}", "{{ [1, }}", "{{ a if }}", "{{ ''.join(7) }}",
             "{% set messages.x = 1 %}", "{% call x() %}", "{{ x | tojson(indent=) }}", "\ufeff{{", "{{ \u0000 }}", "{{ $ }}", "{{ a ? b }}"]


def template_cases(base):
    config = json.loads((base.model() / "tokenizer_config.json").read_text())
    for i, template in enumerate(TEMPLATES):
        yield Case("template", f"template_{i}", {"tokenizer_config.json": dumps(config | {"chat_template": template})},
                   ["generate", "-m", "{}", "--chat", "-p", "a", "-n", "1"], base=base.model())
    for i, other in enumerate((7, True, {}, [7], [{}], [{"name": 7}], [{"name": "default"}], [{"name": "default", "template": 7}])):
        yield Case("template", f"type_{i}", {"tokenizer_config.json": dumps(config | {"chat_template": other})},
                   ["generate", "-m", "{}", "--chat", "-p", "a", "-n", "1"], base=base.model())


def cases(base):
    """All of them, of each kind in turn as long as it has some."""
    kinds = [safetensors_cases(), gguf_cases(), config_cases(base), index_cases(base), quant_cases(base), npy_cases(base), container_cases(base),
             tokenizer_cases(base), tokenizer_file_cases(base), template_cases(base)]
    while kinds:
        for kind in list(kinds):
            case = next(kind, None)
            if case is None:
                kinds.remove(kind)
            else:
                yield case
