#!/usr/bin/env python3
"""Writes tests/hostile/gguf/: files that must be refused, and expected.tsv: "FILE<TAB>STATUS<TAB>FRAGMENT of the message".

The letter and number in a file's name are the row of the catalogue of other projects' faults that it comes from (sizes and
offsets: A; token ids: B). Also writes tests/golden/gguf/: valid files, for the truncation sweep. Standard library only.
"""
import pathlib
import struct

from mkgguf import TENSOR_TYPES, Gguf, Tensor, Value, tiny_llama

ROOT = pathlib.Path(__file__).parents[1]
FORMAT, UNSUPPORTED = "VIVA_E_FORMAT", "VIVA_E_UNSUPPORTED"
CASES: list[tuple[str, bytes, str, str]] = []


def case(name: str, data: bytes, fragment: str, status: str = FORMAT) -> None:
    CASES.append((name, data, status, fragment))


def with_tensor(**fields) -> bytes:
    """tiny_llama with fields of its first tensor replaced."""
    g = tiny_llama()
    for key, value in fields.items():
        setattr(g.tensors[0], key, value)
    return g.pack()


def with_value(*pairs: Value) -> bytes:
    g = tiny_llama()
    g.values.extend(pairs)
    return g.pack()


def with_fields(**fields) -> bytes:
    g = tiny_llama()
    for key, value in fields.items():
        setattr(g, key, value)
    return g.pack()


def with_key(key: str, kind: str, value, **more) -> bytes:
    return tiny_llama().set(key, kind, value, **more).pack()


def counts_and_lengths() -> None:
    for power in (33, 60, 61, 63):
        case(f"a01_tensors_2_{power}", with_fields(n_tensors=2**power), "tensors, but")
        case(f"a01_pairs_2_{power}", with_fields(n_kv=2**power), "key-value pairs, but")
    case("a14_24_bytes", b"GGUF" + struct.pack("<IQQ", 3, 2**33, 2**33), "bytes that follow hold at most 0")
    case("a14_one_tensor_too_many", with_fields(n_tensors=3), "a tensor name of 0 bytes")
    case("a14_one_pair_too_many", with_fields(n_kv=len(tiny_llama().values) + 1), "needs ")
    for length in (2**64 - 1, 2**64 - 16, 2**63, 2**32, 4096):
        case(f"a13_key_{length}", with_value(Value("k", "u8", 1, key_length=length)), "a key needs")
        case(f"a13_string_{length}", with_value(Value("k", "string", "abc", length=length)), "a string needs")
        case(f"a13_name_{length}", with_tensor(name_length=length), "a tensor's name needs")
    case("a01_array_2_62", with_value(Value("k", "array", [1], length=2**62)), "an array of 4611686018427387904 values")
    case("a01_array_2_61_u64", with_value(Value("k", "array", [1], "u64", length=2**61)), "an array of")
    case("a01_array_2_60_strings", with_value(Value("k", "array", ["a"], "string", length=2**60)), "an array of")


def shapes() -> None:
    case("a01_2_32_by_2_32", with_tensor(ne=[2**32, 2**32]), "more than 2^64 elements")
    case("a03_f32_2_62_minus_1", with_tensor(ne=[2**62 - 1], kind="f32"), "needs 18446744073709551612 bytes")
    case("a03_f32_2_62", with_tensor(ne=[2**62], kind="f32"), "more than 2^64 bytes")
    case("a04_1152_by_2_42_plus_1", with_tensor(ne=[1152, 2**42 + 1], kind="f32"), "needs ")
    case("a05_i8_2_63_minus_1_by_2", with_tensor(ne=[2**63 - 1, 2], kind="i8"), "needs 18446744073709551614 bytes")
    case("a10_2_63_plus_2_by_2", with_tensor(ne=[2**63 + 32, 2]), "more than 2^64 elements")
    case("a10_wraps_to_0", with_tensor(ne=[2**16] * 4), "more than 2^64 elements")
    case("a06_dimension_0", with_tensor(ne=[0, 4]), "dimension 0 is 0")
    case("a06_last_dimension_0", with_tensor(ne=[32, 0]), "dimension 1 is 0")
    for dims in (5, 9, 2**31, 2**32 - 1):
        case(f"a15_{dims}_dimensions", with_tensor(n_dims=dims), f"{dims} dimensions")
    case("row_not_of_whole_blocks", with_tensor(ne=[33, 32]), "a multiple of 32")
    case("rank_0_of_blocks", with_tensor(ne=[]), "a multiple of 32")
    case("type_4_was_removed", with_tensor(kind=4), "tensor type 4 is Q4_2, which was given up", UNSUPPORTED)
    case("type_2_32_minus_1", with_tensor(kind=2**32 - 1), "tensor type 4294967295 is unknown", UNSUPPORTED)


def places() -> None:
    for back in (32, 64, 288):
        case(f"a08_offset_2_64_minus_{back}", with_tensor(offset=2**64 - back), "bytes of data")
    case("a07_offset_at_the_end", with_tensor(offset=416), "but the file has 416 bytes of data")
    case("a07_one_byte_missing", tiny_llama().pack()[:-1], "but the file has 415 bytes of data")
    case("a09_data_missing", tiny_llama().pack()[:-416], "but the file has 0 bytes of data")
    case("offset_not_aligned", with_tensor(offset=8), "not a multiple of the alignment 32")
    case("a18_overlap", with_tensor(offset=32), "overlaps the data of")
    g = tiny_llama()
    g.tensors.append(Tensor("copy", [32], offset=288))
    case("a18_same_place", g.pack(), "overlaps the data of")
    g = tiny_llama()
    g.tensors.append(Tensor("output_norm.weight", [32]))
    case("a18_double_name", g.pack(), "stands in the file twice")


def alignments() -> None:
    for align in (0, 1, 3, 4, 48, 2**21, 2**30, 2**31):
        case(f"a16_alignment_{align}", with_key("general.alignment", "u32", align), f"an alignment of {align}")
    for kind in ("i32", "u64", "u8", "f32"):
        case(f"a16_alignment_as_{kind}", with_key("general.alignment", kind, 32), f"expected a u32, found {kind}")
    case("a16_alignment_as_string", with_key("general.alignment", "string", "32"), "expected a u32, found string")
    case("a16_alignment_as_array", with_key("general.alignment", "array", [32]), "expected a u32, found array of u32")


def values() -> None:
    nest = (struct.pack("<IQ", 9, 1)) * 1000 + struct.pack("<IQ", 4, 0)
    case("a17_1000_nested_arrays", with_value(Value("k", 9, nest)), "an array of arrays", UNSUPPORTED)
    for element in (13, 255, 2**32 - 1):
        case(f"a17_array_of_type_{element}", with_value(Value("k", "array", [1], element_id=element)),
             f"value type {element}")
        case(f"value_of_type_{element}", with_value(Value("k", element, bytes(8))), f"value type {element}")
    case("a06_empty_key", with_value(Value("", "u8", 1)), "an empty key")
    case("key_not_utf8", with_value(Value(b"k\xff", "u8", 1)), "a key that is not UTF-8")
    case("key_with_zero_byte", with_value(Value(b"k\0k", "u8", 1)), "a key that is not UTF-8 without zero bytes")
    case("a18_double_key", with_value(Value("general.name", "string", "two")), "stands in the file twice")
    case("name_empty", with_tensor(name=""), "a tensor name of 0 bytes")
    case("name_of_256_bytes", with_tensor(name="n" * 256), "a tensor name of 256 bytes")
    case("name_not_utf8", with_tensor(name=b"n\xc0\x80"), "a tensor name that is not UTF-8")
    case("name_with_zero_byte", with_tensor(name=b"n\0n"), "a tensor name that is not UTF-8 without zero bytes")


def versions() -> None:
    case("version_0", with_fields(version=0), "version 0 does not exist")
    case("version_1", with_fields(version=1), "viva reads versions 2 and 3", UNSUPPORTED)
    case("version_4", with_fields(version=4), "viva reads versions 2 and 3", UNSUPPORTED)
    case("big_endian", with_fields(version=3 << 24), "big-endian", UNSUPPORTED)
    case("magic_only", b"GGUF", "the header needs")


def configurations() -> None:
    """These open; their configuration is refused."""
    case("b03_eos_string", with_key("tokenizer.ggml.eos_token_id", "string", "2"), "expected a token's number")
    case("a19_heads_0", with_key("llama.attention.head_count", "u32", 0), "llama.attention.head_count")
    case("a19_hidden_as_string", with_key("llama.embedding_length", "string", "x"), "found string")
    case("a19_layers_missing", tiny_llama().drop("llama.block_count").pack(), "the key is missing")
    case("a19_rows_are_not_tokens", with_key("tokenizer.ggml.tokens", "array", ["a"] * 9, element="string"), "has 8 rows")
    case("experts", with_key("llama.expert_count", "u32", 8), "a mixture of experts", UNSUPPORTED)
    case("heads_per_layer", with_key("llama.attention.head_count_kv", "array", [2, 1]), "from layer to layer", UNSUPPORTED)
    case("longrope", with_key("llama.rope.scaling.type", "string", "longrope"), "none, linear and yarn", UNSUPPORTED)
    case("split", with_key("split.count", "u16", 3), "the others are found by their names", UNSUPPORTED)
    for no, count, fragment, status in ((1, 3, "this is part 2 of a model in 3 files", UNSUPPORTED),
                                        (3, 3, "part 4 of 3 does not exist", FORMAT),
                                        (0, 10000, "part 1 of 10000 does not exist", FORMAT),
                                        (2**32 - 1, 2, "part 4294967296 of 2 does not exist", FORMAT)):
        case(f"split_{no}_of_{count}", tiny_llama().set("split.no", "u32", no).set("split.count", "u32", count).pack(),
             fragment, status)


def every_type() -> Gguf:
    g = Gguf()
    numbers = {"u8": 255, "i8": -128, "u16": 65535, "i16": -32768, "u32": 2**32 - 1, "i32": -2**31, "f32": 0.5, "bool": 1,
               "u64": 2**64 - 1, "i64": -2**63, "f64": 0.1}
    for kind, value in numbers.items():
        g.values.append(Value("one." + kind, kind, value))
        g.values.append(Value("many." + kind, "array", [value, 0, 1], element=kind))
    g.values.append(Value("one.string", "string", "h\u00e9llo\n"))
    g.values.append(Value("many.string", "array", ["", "a", "\u4e2d"], element="string"))
    g.values.append(Value("none.string", "array", [], element="string"))
    for name, (_, elements, _) in TENSOR_TYPES.items():
        g.tensors.append(Tensor("t." + name, [elements, 2] if elements > 1 else [3, 2, 1, 5], name))
    g.tensors.append(Tensor("t.scalar", []))
    return g


def write_valid() -> None:
    folder = ROOT / "golden" / "gguf"
    folder.mkdir(parents=True, exist_ok=True)
    files = {"tiny_llama": tiny_llama(), "every_type": every_type(), "empty": Gguf(),
             "version_2": tiny_llama(), "alignment_8": tiny_llama().set("general.alignment", "u32", 8),
             "alignment_64": tiny_llama().set("general.alignment", "u32", 64)}
    files["version_2"].version = 2
    files["alignment_8"].alignment, files["alignment_64"].alignment = 8, 64
    for name, g in files.items():
        (folder / (name + ".gguf")).write_bytes(g.pack())


def main() -> None:
    for part in (counts_and_lengths, shapes, places, alignments, values, versions, configurations):
        part()
    folder = ROOT / "hostile" / "gguf"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*"):
        old.unlink()
    for name, data, _, _ in CASES:
        (folder / (name + ".gguf")).write_bytes(data)
    lines = [f"{name}.gguf\t{status}\t{fragment}\n" for name, _, status, fragment in CASES]
    (folder / "expected.tsv").write_text("".join(lines))
    write_valid()


if __name__ == "__main__":
    main()
