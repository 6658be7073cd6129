#!/usr/bin/env python3
"""Writes safetensors files, valid and broken, for tests/golden/safetensors/ and tests/hostile/{safetensors,index,config}/.

    mkst.py                     writes all of them again, byte for byte the same
    mkst.py --compare           also asks the reference reader (PyPI safetensors) about each, and lists disagreements
    mkst.py OUT --dtype F32 --shape 2,3 --off 0,24 [--name x]      one file with one tensor, as told

Each hostile folder has expected.tsv: "FILE<TAB>STATUS<TAB>FRAGMENT of the message". The letter and number in a file's name
are the row of the catalogue of other projects' faults that it comes from (sizes and offsets: A; paths: F). Standard
library only (but for --compare).
"""
import argparse
import json
import pathlib
import shutil
import struct

ROOT = pathlib.Path(__file__).parents[1]
FORMAT, UNSUPPORTED, NOT_FOUND = "VIVA_E_FORMAT", "VIVA_E_UNSUPPORTED", "VIVA_E_NOT_FOUND"

# name: bits of one element (huggingface/safetensors:safetensors/src/tensor.rs)
BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
        "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64}


def size_of(dtype: str, shape: list[int]) -> int:
    elements = 1
    for side in shape:
        elements *= side
    return elements * BITS[dtype] // 8


def pack(header: str | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header; length: what its first eight bytes say instead of the truth."""
    text = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def pattern(count: int, first: int = 0) -> bytes:
    return bytes((first + i * 7) % 251 for i in range(count))


def layout(tensors: list[tuple[str, str, list[int]]], metadata: dict | None = None) -> tuple[dict, bytes]:
    """Entries with offsets in the order given, and their data."""
    header: dict = {} if metadata is None else {"__metadata__": metadata}
    data = b""
    for name, dtype, shape in tensors:
        size = size_of(dtype, shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += pattern(size, len(data))
    return header, data


def dumps(value) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def file_of(tensors, metadata=None, pad: bool = True) -> bytes:
    header, data = layout(tensors, metadata)
    text = dumps(header).encode()
    return pack(text + b" " * (-len(text) % 8 if pad else 0), data)


def one(dtype="F32", shape=(2, 3), offsets=None, size=None, name="x", extra="", entry=None) -> bytes:
    """A file with one tensor. shape and offsets may be any JSON text."""
    if size is None:
        size = size_of(dtype, list(shape)) if dtype in BITS and not isinstance(shape, str) else 24
    shape_text = shape if isinstance(shape, str) else dumps(list(shape))
    offsets_text = offsets if isinstance(offsets, str) else dumps(list(offsets if offsets is not None else (0, size)))
    entry = entry or f'{{"dtype":"{dtype}","shape":{shape_text},"data_offsets":{offsets_text}{extra}}}'
    return pack(f'{{"{name}":{entry}}}', pattern(size))


def valid() -> dict[str, bytes]:
    every = [(dtype.lower(), dtype, [4, 8]) for dtype in BITS]
    reordered, data = layout([("b", "F32", [2]), ("a", "BF16", [3, 5]), ("c", "U8", [1])])
    return {
        "every_type.safetensors": file_of(every, {"format": "pt", "note": "Grüße \u2603"}),
        "empty.safetensors": pack("{}"),
        "unaligned.safetensors": file_of([("a", "U8", [3]), ("b", "BF16", [2, 2]), ("c", "F32", [])], pad=False),
        "ranks.safetensors": file_of([("scalar", "F32", []), ("none", "F32", [0]), ("hollow", "BF16", [3, 0, 5]),
                                      ("eight", "U8", [1, 2, 1, 2, 1, 2, 1, 2]), ("end", "F16", [0, 7])]),
        "any_order.safetensors": pack(dumps({k: reordered[k] for k in ("c", "a", "b")}) + "  \n", data),
        "names.safetensors": pack('{"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"caf\\u00e9 \\"\\ud83d\\ude00\\"":'
                                  '{"data_offsets":[1,2],"shape":[1],"dtype":"U8"}}', b"\1\2"),
        "shard_a.safetensors": file_of([("a.weight", "F32", [4, 2]), ("both", "BF16", [2])], {"format": "pt"}),
        "shard_b.safetensors": file_of([("b.weight", "BF16", [2, 4])], {"format": "pt"}),
        "duplicate_a.safetensors": file_of([("a.weight", "F32", [1])]),
    }


CASES: dict[str, list[tuple[str, bytes, str, str]]] = {"safetensors": [], "index": [], "config": []}


def case(name: str, data: bytes, fragment: str, status: str = FORMAT) -> None:
    CASES["safetensors"].append((name + ".safetensors", data, status, fragment))


def lengths() -> None:
    good = file_of([("x", "F32", [2, 3])])
    case("a14_no_bytes", b"", "it has 0 bytes")
    case("a14_7_bytes", b"\0" * 7, "it has 7 bytes")
    case("a14_length_only", struct.pack("<Q", 0), "must begin with '{'")
    case("a14_24_bytes", struct.pack("<Q", 10**8) + b"{" + b" " * 15, "only 16 bytes follow")
    for less in range(1, 17):
        case(f"a13_length_2_64_minus_{less}", pack(good[8:], length=2**64 - less), "at most 100000000 is allowed")
    case("a13_length_2_63", pack(good[8:], length=2**63), "at most 100000000 is allowed")
    case("a13_length_100000001", pack(good[8:], length=100000001), "at most 100000000 is allowed")
    case("a13_length_is_the_files", pack(good[8:], length=len(good)), "bytes follow")
    case("a13_length_one_more", pack(good[8:], length=len(good) - 7), "bytes follow")
    case("a13_length_one_less", pack(good[8:], length=struct.unpack_from("<Q", good)[0] - 1), "belong to no tensor")
    case("a13_length_into_data", pack(good[8:], length=struct.unpack_from("<Q", good)[0] + 1), "reach beyond the 23 bytes")
    case("lfs_pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git lfs pull")
    case("web_page", b"<!DOCTYPE html><html><body>404</body></html>", "web page")
    case("pytorch", b"PK\3\4\24\0\10\10" + b"\0" * 40, "zip archive")
    case("config_json", b'{"hidden_size": 8}', "looks like JSON")


def shapes() -> None:
    case("a10_2_32_by_2_32", one("U8", "[4294967296,4294967296]", (0, 0), 0), "more elements than 64 bits")
    case("a10_2_63_2", one("U8", f"[{2**63 + 2},2]", (0, 4), 4), "more elements than 64 bits")
    case("a10_bytes_wrap", one("F64", f"[{2**61 + 1}]", (0, 8), 8), "whole number of bytes")
    case("a10_zero_after_overflow", one("U8", f"[{2**63},4,0]", (0, 0), 0), "more elements than 64 bits")
    case("a10_bits_wrap", one("F4", f"[{2**63}]", (0, 0), 0), "whole number of bytes")
    case("a11_shape_larger_than_data", one("F8_E4M3", (128, 128), (0, 128), 128), "needs 16384 bytes")
    case("a11_shape_smaller_than_data", one("F32", (2, 2), (0, 24), 24), "needs 16 bytes")
    case("a11_half_a_byte", one("F4", (3,), (0, 2), 2), "whole number of bytes")
    case("a11_six_bits", one("F6_E2M3", (3,), (0, 3), 3), "whole number of bytes")
    case("a11_negative_side", one(shape="[-2,3]"), "shape: line 1")
    case("a11_float_side", one(shape="[2.0,3]"), "shape: line 1")
    case("a11_string_side", one(shape='["2",3]'), "shape: line 1")
    case("a11_side_2_64", one("U8", f"[{2**64},0]", (0, 0), 0), "shape: line 1")
    case("a11_shape_is_a_number", one(shape="6"), "expected an array")
    case("a11_shape_null", one(shape="null"), "expected an array")
    case("a15_rank_9", one("U8", (1,) * 9, (0, 1), 1), "9 dimensions", UNSUPPORTED)
    case("a15_rank_10000", one("U8", (1,) * 10000, (0, 1), 1), "10000 dimensions", UNSUPPORTED)


def offsets() -> None:
    case("a11_one_offset", one(offsets="[0]"), "has 1 numbers")
    case("a11_three_offsets", one(offsets="[0,24,24]"), "has 3 numbers")
    case("a11_no_offsets", one(offsets="[]"), "has 0 numbers")
    case("a11_begin_after_end", one(offsets=(24, 0)), "end before they begin")
    case("a11_float_offsets", one(offsets="[0.0,24.0]"), "data_offsets: line 1")
    case("a11_negative_offsets", one(offsets="[-24,0]"), "data_offsets: line 1")
    case("a11_string_offsets", one(offsets='["0","24"]'), "data_offsets: line 1")
    case("a11_exponent", one(offsets="[0,24e0]"), "data_offsets: line 1")
    case("a11_object_offsets", one(offsets='{"begin":0,"end":24}'), "expected an array")
    case("a12_2_53_plus_1", one("U8", (1,), (2**53 + 1, 2**53 + 2), 1), "[9007199254740993, 9007199254740994]")
    case("a12_2_40", one("F32", (1,), (2**40, 2**40 + 4), 4), "reach beyond the 4 bytes")
    case("a12_unknown_dtype", one("F7", (1,), (2**40, 2**40 + 4), 4), 'dtype "F7"', UNSUPPORTED)
    case("a12_lower_case_dtype", one("f32", (2, 3)), 'dtype "f32"', UNSUPPORTED)
    case("a12_empty_dtype", one("", (2, 3)), 'dtype ""', UNSUPPORTED)
    case("a12_dtype_is_a_number", one(entry='{"dtype":3,"shape":[2,3],"data_offsets":[0,24]}'), "dtype: line 1")
    case("a12_offset_2_64", one("U8", (1,), f"[{2**64},{2**64 + 1}]", 1), "data_offsets: line 1")
    case("a12_end_2_64_minus_1", one("U8", (1,), (2**64 - 2, 2**64 - 1), 1), "reach beyond")
    case("a09_data_missing", one()[:-1], "cut or damaged")
    case("a09_no_data", one()[:-24], "cut or damaged")


def coverage() -> None:
    entry = '"{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}'
    two = lambda *e: pack("{" + ",".join(entry.format(*x) for x in e) + "}", pattern(8))  # noqa: E731
    case("a18_overlap", two(("a", 5, 0, 5), ("b", 4, 4, 8)), "overlap those of a")
    case("a18_same_place", two(("a", 8, 0, 8), ("b", 8, 0, 8)), "overlap those of")
    case("a18_inside", two(("a", 8, 0, 8), ("b", 2, 3, 5)), "overlap those of a")
    case("a18_empty_inside", two(("a", 8, 0, 8), ("b", 0, 3, 3)), "overlap those of a")
    case("a18_hole", two(("a", 3, 0, 3), ("b", 4, 4, 8)), "1 bytes in front")
    case("a18_hole_at_the_start", two(("a", 7, 1, 8)), "1 bytes in front")
    case("a18_one_byte_behind", two(("a", 7, 0, 7)), "last 1 bytes")
    case("a18_four_bytes_behind", file_of([("x", "F32", [2])]) + b"\0" * 4, "last 4 bytes")
    case("a18_zip_behind", file_of([("x", "F32", [2])]) + b"PK\3\4" + b"\0" * 60, "last 64 bytes")
    case("a18_only_data", pack("{}", b"\0" * 8), "last 8 bytes")
    many = "{" + ",".join(entry.format(f"t{i}", 8, 0, 8) for i in range(300)) + "}"
    case("a18_bomb", pack(many, pattern(8)), "overlap those of")


def members() -> None:
    e = '{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'
    f = '{"dtype":"U8","shape":[4],"data_offsets":[4,8]}'
    case("a18_duplicate_name", pack(f'{{"a":{e},"a":{f}}}', pattern(8)), "already there")
    case("a18_duplicate_escaped", pack(f'{{"a":{e},"\\u0061":{f}}}', pattern(8)), "already there")
    case("a18_duplicate_metadata", pack(f'{{"__metadata__":{{}},"a":{e},"__metadata__":{{}}}}', pattern(4)), "already there")
    case("a18_duplicate_member", one(extra=',"dtype":"F32"'), "already there")
    case("a18_unknown_member", one(extra=',"strides":[3,1]'), 'unknown member "strides"')
    for key in ("dtype", "shape", "data_offsets"):
        kept = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
        del kept[key]
        case(f"a18_no_{key}", pack(dumps({"a": kept}), pattern(4)), f'the member "{key}" is missing')
    for name, text in (("number", '{"k":1}'), ("null", '{"k":null}'), ("nested", '{"k":{"a":"b"}}'), ("list", '["k","v"]'),
                       ("string", '"k"')):
        case(f"a18_metadata_{name}", pack(f'{{"__metadata__":{text},"a":{e}}}', pattern(4)), "expected a")
    for name, text in (("number", "1"), ("list", "[]"), ("string", '"x"'), ("null", "null")):
        case(f"a18_entry_{name}", pack(f'{{"a":{text}}}'), "expected an object")
    case("a18_bom", pack(b"\xef\xbb\xbf" + f'{{"a":{e}}}'.encode(), pattern(4)), "must begin with '{'")
    case("a18_leading_space", pack(f' {{"a":{e}}}', pattern(4)), "must begin with '{'")
    case("a18_leading_newline", pack(f'\n{{"a":{e}}}', pattern(4)), "must begin with '{'")
    case("a18_list", pack("[]"), "must begin with '{'")
    case("a18_text_behind", pack(f'{{"a":{e}}}x', pattern(4)), "'x'")
    case("a18_two_objects", pack(f'{{"a":{e}}}{{}}', pattern(4)), "'{'")
    case("a18_zero_padding", pack(f'{{"a":{e}}}'.encode() + b"\0\0\0", pattern(4)), "byte 0x00")
    case("a18_comma_at_the_end", pack(f'{{"a":{e},}}', pattern(4)), "comma")
    case("a18_single_quotes", pack(f"{{'a':{e}}}", pattern(4)), "double quotes")
    case("a18_cut_json", pack(f'{{"a":{e}', pattern(4)), "end of the text")
    case("a18_zero_byte_in_name", pack(f'{{"a\\u0000b":{e}}}', pattern(4)), "zero byte")
    case("a18_invalid_utf8", pack(b'{"a\xff":' + e.encode() + b"}", pattern(4)), "UTF-8")
    case("a18_lone_surrogate", pack(f'{{"\\ud800":{e}}}', pattern(4)), "surrogate")
    case("a18_control_character", pack(f'{{"a\x01":{e}}}', pattern(4)), "0x01")
    case("a17_nested_100000", pack('{"__metadata__":' + "[" * 100000), "expected an object")
    case("a17_nested_entry", pack('{"a":{"dtype":' + "{" * 20000), "expected a string")
    case("a17_nested_shape", one(shape="[" * 1000 + "]" * 1000), "shape: line 1")


def indexes() -> None:
    """Each stands beside shard_a, shard_b and duplicate_a of golden/safetensors."""
    a, b = "shard_a.safetensors", "shard_b.safetensors"
    good = {"a.weight": a, "both": a, "b.weight": b}

    def add(name: str, content, fragment: str, status: str = FORMAT) -> None:
        text = content if isinstance(content, bytes) else dumps(content).encode()
        CASES["index"].append((name + ".index.json", text, status, fragment))

    def renamed(name: str) -> dict:
        return {"weight_map": {**good, "b.weight": name}}

    for name, shard in (("parent", "../x"), ("parent_real", f"../m/{b}"), ("absolute", "/abs"), ("absolute_real", f"/m/{b}"),
                        ("subfolder", f"sub/{b}"), ("here", f"./{b}"), ("slash_behind", b + "/"), ("backslash", f"..\\{b}"),
                        ("etc", "../../../../etc/passwd")):
        add(f"f04_{name}", renamed(shard), "is a path")
    add("f04_dot", renamed("."), "is a folder")
    add("f04_dot_dot", renamed(".."), "is a folder")
    add("f04_empty", renamed(""), "is empty")
    add("f04_zero_byte", renamed(b + "\0"), "holds a zero byte")
    add("f04_escaped_slash", dumps(renamed("../x")).replace("/", "\\u002f").encode(), "is a path")
    add("missing_shard", renamed("shard_c.safetensors"), "this shard is missing", NOT_FOUND)
    add("duplicate_across_shards", {"weight_map": {**good, "x": "duplicate_a.safetensors"}}, "a tensor of this name in")
    add("duplicate_key", f'{{"weight_map":{{"a.weight":"{a}","a.weight":"{b}"}}}}'.encode(), "already there")
    add("no_weight_map", {"metadata": {"total_size": 1}}, "weight_map")
    add("empty_weight_map", {"weight_map": {}}, "is empty")
    add("weight_map_list", {"weight_map": [a, b]}, "expected an object")
    add("shard_is_a_number", {"weight_map": {**good, "b.weight": 1}}, "expected a string")
    add("shard_is_null", {"weight_map": {**good, "b.weight": None}}, "expected a string")
    add("list", [good], "expected an object")
    add("no_bytes", b"", "end of the text")
    add("cut", dumps({"weight_map": good})[:-5].encode(), "cut off")
    add("bom", b"\xef\xbb\xbf" + dumps({"weight_map": good}).encode(), "byte order mark")
    add("nested", b'{"x":' + b"[" * 100000, "64 levels")
    add("not_safetensors", renamed("text.safetensors"), "header")


def configs() -> None:
    """The matrix of row A19 over a small llama: what each key may not be."""
    base = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 256,
            "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
            "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}

    def add(name: str, change: dict, fragment: str, status: str = FORMAT) -> None:
        values = {**base, **change}
        text = dumps({k: v for k, v in values.items() if v is not ...})
        CASES["config"].append((f"{name}.json", text.replace('"1e308"', "1e308").encode(), status, fragment))

    # value: a name for it; ... is "absent"
    hostile = {"absent": ..., "0": 0, "minus_1": -1, "1": 1, "2_31_minus_1": 2**31 - 1, "2_32": 2**32, "1e308": "1e308",
               "string": "x", "list": [], "null": None}
    fine = {  # what is allowed, and gives a model
        "hidden_size": {"1"}, "intermediate_size": {"1"}, "num_hidden_layers": {"1"}, "num_attention_heads": set(),
        "num_key_value_heads": {"absent", "1", "null", "minus_1"},
        "head_dim": {"absent", "null", "minus_1"}, "vocab_size": {"1"},
        "max_position_embeddings": {"absent", "1", "null"}, "rms_norm_eps": {"absent", "1", "null"},
        "rope_theta": {"absent", "null", "2_31_minus_1", "2_32"}, 
        "bos_token_id": {"absent", "0", "1", "2_31_minus_1", "2_32", "null", "minus_1"},
        "eos_token_id": {"absent", "0", "1", "2_31_minus_1", "2_32", "null", "minus_1", "list"}}
    for key, allowed in fine.items():
        for name, value in hostile.items():
            if name not in allowed:
                # one head: 64 of 64 dimensions, but two key-value heads
                culprit = "num_key_value_heads" if (key, name) == ("num_attention_heads", "1") else key
                add(f"a19_{key}_{name}", {key: value}, culprit)
    add("a19_hidden_mod_heads", {"hidden_size": 66, "head_dim": ...}, "not a multiple of num_attention_heads")
    add("a19_heads_mod_kv", {"num_key_value_heads": 3}, "not a multiple of num_key_value_heads")
    add("a19_kv_above_heads", {"num_key_value_heads": 8}, "not a multiple of num_key_value_heads")
    add("a19_odd_head_dim", {"head_dim": 17}, "needs an even one")
    add("a19_eps_negative", {"rms_norm_eps": -1e-5}, "rms_norm_eps")
    add("a19_eps_2", {"rms_norm_eps": 2}, "rms_norm_eps")
    add("a19_tie_string", {"tie_word_embeddings": "yes"}, "expected true or false")
    add("a19_bias_number", {"attention_bias": 1}, "expected true or false")
    add("a19_eos_string_in_list", {"eos_token_id": [1, "2"]}, "the id of a token")
    add("a19_eos_nested_list", {"eos_token_id": [[1]]}, "the id of a token")
    add("a19_architectures_number", {"architectures": [1]}, "expected a string")
    add("a19_model_type_number", {"model_type": 1}, "expected a string")
    add("act_gelu", {"hidden_act": "gelu"}, 'not "gelu"', UNSUPPORTED)
    add("act_number", {"hidden_act": 1}, "expected a string")
    add("per_layer", {"per_layer_config": {"0": {"hidden_size": 4}}}, "different shapes", UNSUPPORTED)
    ropes(add)
    qwen = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8}
    full, sliding = "full_attention", "sliding_attention"
    add("window_0", {**qwen, "sliding_window": 0}, "1 or more")
    add("window_2_32", {**qwen, "sliding_window": 2**32, "max_window_layers": 0}, "sliding_window")
    add("window_string", {**qwen, "sliding_window": "8"}, "sliding_window")
    add("window_switch_number", {**qwen, "use_sliding_window": 1}, "expected true or false")
    add("layers_too_few", {**qwen, "layer_types": [full]}, "1 entries for 2 layers")
    add("layers_mixed", {**qwen, "layer_types": [sliding, full]}, "full ones first", UNSUPPORTED)
    add("layers_unknown", {**qwen, "layer_types": [full, "linear_attention"]}, 'not "linear_attention"', UNSUPPORTED)
    add("layers_number", {**qwen, "layer_types": [full, 1]}, "a list of strings")
    add("layers_object", {**qwen, "layer_types": {}}, "a list of strings")
    add("layers_without_window", {**qwen, "use_sliding_window": False, "layer_types": [full, sliding]}, "is not set")
    CASES["config"].append(("cut.json", dumps(base)[:-9].encode(), FORMAT, "line 1"))
    CASES["config"].append(("no_bytes.json", b"", FORMAT, "end of the text"))
    CASES["config"].append(("list.json", b"[]", FORMAT, "expected an object"))
    CASES["config"].append(("nested.json", b'{"a":' * 5000, FORMAT, "64 levels"))
    CASES["config"].append(("infinity.json", json.dumps({**base, "rope_theta": float("inf")}).encode(), FORMAT,
                            "expected a number above 1"))
    CASES["config"].append(("1e999.json", b'{"rope_theta": 1e999}', FORMAT, "double"))


def ropes(add) -> None:
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 128}
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
    for kind in ("longrope", "su", "mrope", "proportional", "x"):
        add(f"rope_{kind}", {"rope_scaling": {"type": kind, "factor": 2.0}}, f'RoPE type "{kind}"', UNSUPPORTED)
    for key in ("factor", "low_freq_factor", "high_freq_factor"):
        add(f"rope_llama3_no_{key}", {"rope_scaling": {k: v for k, v in llama3.items() if k != key}}, f'the key "{key}"')
    for kind in ("linear", "dynamic", "yarn"):
        add(f"rope_{kind}_no_factor", {"rope_scaling": {"rope_type": kind}}, 'the key "factor"')
        for name, value in (("0", 0), ("minus_1", -1), ("1e308", "1e308"), ("string", "x"), ("list", [])):
            add(f"rope_{kind}_factor_{name}", {"rope_scaling": {"type": kind, "factor": value}}, "factor")
    add("rope_llama3_high_is_low", {"rope_scaling": {**llama3, "high_freq_factor": 1}}, "above low_freq_factor")
    add("rope_llama3_original_0", {"rope_scaling": {**llama3, "original_max_position_embeddings": 0}}, "original model")
    add("rope_llama3_original_float", {"rope_scaling": {**llama3, "original_max_position_embeddings": 1.5}}, "an integer")
    add("rope_yarn_original_0", {"rope_scaling": {**yarn, "original_max_position_embeddings": 0}}, "original model")
    add("rope_yarn_beta", {"rope_scaling": {**yarn, "beta_fast": 1, "beta_slow": 2}}, "must not be below beta_slow")
    add("rope_yarn_truncate", {"rope_scaling": {**yarn, "truncate": 1}}, "expected true or false")
    add("rope_yarn_attention_0", {"rope_scaling": {**yarn, "attention_factor": 0}}, "attention_factor")
    add("rope_is_a_string", {"rope_scaling": "linear"}, "expected an object")
    add("rope_parameters_list", {"rope_parameters": []}, "expected an object")
    add("rope_type_number", {"rope_parameters": {"rope_type": 1}}, "expected a string")
    add("rope_theta_in_parameters", {"rope_parameters": {"rope_type": "default", "rope_theta": 0}}, "rope_theta")
    add("rope_partial_0", {"partial_rotary_factor": 0}, "partial_rotary_factor")
    add("rope_partial_2", {"partial_rotary_factor": 2.0}, "partial_rotary_factor")
    add("rope_partial_odd", {"partial_rotary_factor": 0.1875}, "3 of 16 dimensions")
    nested = {"full_attention": {"rope_type": "default", "rope_theta": 1e6}, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
    add("rope_nested_differ", {"rope_parameters": nested}, "full and sliding attention differ", UNSUPPORTED)
    add("rope_nested_string", {"rope_parameters": {"full_attention": "x"}}, "expected an object")
    add("rope_dynamic_2_dims", {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "head_dim": 2}, "more than 2")


def write_all() -> None:
    for build in (lengths, shapes, offsets, coverage, members, indexes, configs):
        build()
    golden = ROOT / "golden" / "safetensors"
    golden.mkdir(parents=True, exist_ok=True)
    for name, data in valid().items():
        (golden / name).write_bytes(data)
    for kind, cases in CASES.items():
        folder = ROOT / "hostile" / kind
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, data, _, _ in cases:
            (folder / name).write_bytes(data)
        assert len({name for name, *_ in cases}) == len(cases)
        (folder / "expected.tsv").write_text("".join(f"{n}\t{s}\t{f}\n" for n, _, s, f in cases))


def compare() -> None:
    """Where the reference reader accepts what must be refused, or refuses what is valid."""
    from safetensors import deserialize

    def verdict(data: bytes) -> str:
        try:
            deserialize(data)
        except Exception as reason:  # the package raises several kinds
            return f"refused: {reason}"
        return "accepted"

    for name, data in valid().items():
        if verdict(data) != "accepted":
            print(f"valid    {name}: {verdict(data)}")
    for name, data, _, _ in CASES["safetensors"]:
        if verdict(data) == "accepted":
            print(f"hostile  {name}: accepted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", nargs="?")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--name", default="x")
    parser.add_argument("--dtype", default="F32")
    parser.add_argument("--shape", default="2,3")
    parser.add_argument("--off")
    parser.add_argument("--bytes", type=int, help="of data; by default what the shape needs")
    arguments = parser.parse_args()
    if arguments.out:
        offsets_text = f"[{arguments.off}]" if arguments.off else None
        shape = [int(side) for side in arguments.shape.split(",") if side]
        size = arguments.bytes if arguments.bytes is not None else min(size_of(arguments.dtype, shape), 1 << 20)
        pathlib.Path(arguments.out).write_bytes(one(arguments.dtype, shape, offsets_text, size, arguments.name))
        return
    write_all()
    if arguments.compare:
        compare()


if __name__ == "__main__":
    main()
