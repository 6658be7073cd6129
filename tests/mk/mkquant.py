#!/usr/bin/env python3
"""Writes small checkpoints in every quantised dialect, and the values they stand for, to tests/golden/quant/NAME/;
and the fuzzer's seeds, to tests/fuzz/corpus/quant/.

    mkquant.py           all of them (needs numpy, torch, safetensors and compressed-tensors 0.20)
    mkquant.py --numpy   only those that compressed-tensors does not write (needs numpy)

Each folder has config.json and/or hf_quant_config.json, model.safetensors, expected.txt ("MODULE ROWS COLUMNS" for each
matrix) and expected.bin (their values as FP32, one after another). The values of compressed-tensors' schemes are those of its
own decompressors; the others are computed here, by the rule that stands with each.
"""
import argparse
import json
import pathlib
import shutil
import struct

import numpy as np

TESTS = pathlib.Path(__file__).parents[1]
OUT = TESTS / "golden" / "quant"
SEEDS = TESTS / "fuzz" / "corpus" / "quant"
Q = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.0.mlp.down_proj"
HEAD = "lm_head"

# ---- numbers

E4M3 = np.array([(-1.0 if c & 128 else 1.0) * (np.nan if c & 127 == 127 else
                 (c & 7) * 2.0**-9 if (c >> 3) & 15 == 0 else (8 + (c & 7)) * 2.0**(((c >> 3) & 15) - 10))
                 for c in range(256)], dtype=np.float32)
E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0.0, -.5, -1, -1.5, -2, -3, -4, -6], dtype=np.float32)


def e4m3(x: np.ndarray) -> np.ndarray:
    """Codes of the nearest values, ties to even codes."""
    codes = np.array([c for c in range(127)])
    middles = (E4M3[codes][1:].astype(np.float64) + E4M3[codes][:-1]) / 2
    a = np.abs(x).astype(np.float64)
    low = np.searchsorted(middles, a, side="left")
    up = np.searchsorted(middles, a, side="right")
    code = np.where(low == up, low, np.where(low % 2 == 0, low, up))
    return (code | np.where(np.signbit(x), 128, 0)).astype(np.uint8)


def e2m1(x: np.ndarray) -> np.ndarray:
    a = np.abs(x)
    code = sum((a > m) if i % 2 == 0 else (a >= m) for i, m in enumerate([.25, .75, 1.25, 1.75, 2.5, 3.5, 5]))
    return (code | np.where(np.signbit(x), 8, 0)).astype(np.uint8)


def bf16(x: np.ndarray) -> np.ndarray:
    """Bits, to nearest even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


# ---- files

TYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "U8": np.uint8, "F8_E4M3": np.uint8,
         "F8_E8M0": np.uint8, "I64": np.int64}


def write(name: str, tensors: dict, expected: dict, configs: dict) -> None:
    """tensors: name -> (type, array)."""
    folder = OUT / name
    header, data = {}, b""
    for key, (dtype, array) in sorted(tensors.items(), key=lambda t: -TYPES[t[1][0]]().itemsize):
        array = np.ascontiguousarray(array, TYPES[dtype]).reshape(np.shape(array))
        header[key] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    finish(folder, struct.pack("<Q", len(text)) + text + data, expected, configs)


def finish(folder: pathlib.Path, weights: bytes | None, expected: dict, configs: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if weights is not None:
        (folder / "model.safetensors").write_bytes(weights)
    for file, value in configs.items():
        (folder / file).write_text(json.dumps(value, indent=1) + "\n")
    names = sorted(expected)
    (folder / "expected.txt").write_text("".join(f"{n} {expected[n].shape[0]} {expected[n].shape[1]}\n" for n in names))
    (folder / "expected.bin").write_bytes(b"".join(np.ascontiguousarray(expected[n], "<f4").tobytes() for n in names))


def config(quantization: dict | None) -> dict:
    base = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    return base if quantization is None else base | {"quantization_config": quantization}


def weight(seed: int, rows: int, cols: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((rows, cols)) * 0.05 * np.exp(rng.standard_normal((rows, 1)))).astype(np.float32)
    w[rows // 2, :] = 0
    w[0, 1] = -0.0
    w[1 % rows, 0] = 1e-9
    return w


def dense(seed: int = 9) -> tuple[dict, dict]:
    """What is left unquantised: the head and a norm."""
    head = bf16(weight(seed, 6, 16))
    return ({f"{HEAD}.weight": ("BF16", head), "model.norm.weight": ("BF16", bf16(np.ones(16, np.float32)))},
            {HEAD: from_bf16(head)})


def grid(scale: np.ndarray, rows: int, cols: int, block: tuple[int, int]) -> np.ndarray:
    return np.repeat(np.repeat(scale, block[0], 0)[:rows], block[1], 1)[:, :cols]


def block_scale(w: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    rows, cols = -(-w.shape[0] // block[0]), -(-w.shape[1] // block[1])
    padded = np.zeros((rows * block[0], cols * block[1]), np.float32)
    padded[:w.shape[0], :w.shape[1]] = np.abs(w)
    top = padded.reshape(rows, block[0], cols, block[1]).max((1, 3))
    return np.where(top == 0, 1, top / np.float32(448)).astype(np.float32)


# ---- "fp8", FBGEMM, ModelOpt: weight = code · scale, in FP32


def deepseek(name: str, block: tuple[int, int], shape: tuple[int, int], suffix: str = "weight_scale_inv") -> None:
    tensors, expected = dense()
    for i, module in enumerate((DOWN, Q)):
        w = weight(i, *shape)
        scale = block_scale(w, block)
        stored = ("F32", scale) if i == 0 else ("BF16", bf16(scale))
        if i == 1:
            scale = from_bf16(stored[1])
        codes = e4m3(w / grid(scale, *shape, block))
        tensors |= {f"{module}.weight": ("F8_E4M3", codes), f"{module}.{suffix}": stored}
        expected[module] = E4M3[codes] * grid(scale, *shape, block)
    write(name, tensors, expected, {"config.json": config(
        {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": list(block),
         "modules_to_not_convert": ["lm_head"]})})


def one_scale(name: str, rank: int, configs: dict) -> None:
    tensors, expected = dense()
    for i, module in enumerate((DOWN, Q)):
        w = weight(10 + i, 12, 40)
        scale = np.float32(np.abs(w).max() / 448)
        codes = e4m3(w / scale)
        shape = (1,) * rank
        tensors |= {f"{module}.weight": ("F8_E4M3", codes), f"{module}.weight_scale": ("F32", np.full(shape, scale)),
                    f"{module}.input_scale": ("F32", np.full(shape, 0.01))}
        expected[module] = E4M3[codes] * scale
    tensors |= {"model.layers.0.self_attn.k_proj.k_scale": ("F32", np.float32(1)),
                "model.layers.0.self_attn.v_proj.v_scale": ("F32", np.float32(1))}
    write(name, tensors, expected, configs)


def fbgemm() -> None:
    tensors, expected = dense()
    for i, module in enumerate((DOWN, Q)):
        w = weight(20 + i, 12, 40)
        scale = block_scale(w, (1, 40))
        codes = e4m3(w / scale)
        tensors |= {f"{module}.weight": ("F8_E4M3", codes), f"{module}.weight_scale": ("F32", scale),
                    f"{module}.input_scale_ub": ("F32", np.float32([1200]))}
        expected[module] = E4M3[codes] * scale
    write("fbgemm", tensors, expected, {"config.json": config(
        {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]})})


def nvfp4_codes(w: np.ndarray, multiplier: np.float32) -> tuple[np.ndarray, np.ndarray]:
    """ModelOpt's: codes [rows][cols] and E4M3 scales of blocks of 16 columns (the last one may be short)."""
    rows, cols = w.shape
    scale = e4m3(block_scale(w, (1, 16)) * np.float32(448 / 6) / multiplier)
    scale[E4M3[scale] == 0] = 0x38  # 1.0
    return e2m1(w / grid(E4M3[scale] * multiplier, rows, cols, (1, 16))), scale


def pack_nibbles(codes: np.ndarray) -> np.ndarray:
    whole = np.zeros((codes.shape[0], -(-codes.shape[1] // 16) * 16), np.uint8)
    whole[:, :codes.shape[1]] = codes
    return whole[:, ::2] | whole[:, 1::2] << 4


def modelopt_nvfp4() -> None:
    """value = code · (scale · weight_scale_2)."""
    tensors, expected = dense()
    for i, module in enumerate((DOWN, Q)):
        w = weight(30 + i, 10, 48)
        two = np.float32(np.abs(w).max() / 2688)
        codes, scale = nvfp4_codes(w, two)
        tensors |= {f"{module}.weight": ("U8", pack_nibbles(codes)), f"{module}.weight_scale": ("F8_E4M3", scale),
                    f"{module}.weight_scale_2": ("F32", two), f"{module}.input_scale": ("F32", np.float32(0.001))}
        expected[module] = E2M1[codes] * grid(E4M3[scale] * two, *w.shape, (1, 16))
    algo = {"quant_algo": "NVFP4", "group_size": 16, "kv_cache_quant_algo": None}
    write("modelopt_nvfp4", tensors, expected,
          {"config.json": config({"quant_method": "modelopt", "ignore": ["lm_head*"]} | algo),
           "hf_quant_config.json": {"producer": {"name": "modelopt", "version": "0.33.0"},
                                    "quantization": algo | {"exclude_modules": ["lm_h?ad", "*norm[0-9]"]}}})


# ---- sparse-24-bitmask (compressed-tensors before 0.14): kept values in order, a bit for each column


def bitmask(module: str, values: np.ndarray, dtype: str, magnitude: np.ndarray) -> dict:
    rows, cols = values.shape
    order = np.argsort(-magnitude.reshape(rows, cols // 4, 4), axis=2, kind="stable")[:, :, :2]
    mask = np.zeros((rows, cols // 4, 4), bool)
    np.put_along_axis(mask, order, True, 2)
    mask = mask.reshape(rows, cols)
    return {f"{module}.compressed": (dtype, values[mask].reshape(rows, cols // 2)),
            f"{module}.bitmask": ("U8", np.packbits(mask, axis=1, bitorder="little")),
            f"{module}.shape": ("I64", np.array([[rows], [cols]]))}, mask


def sparse(name: str, fp8: bool) -> None:
    tensors, expected = dense()
    for i, module in enumerate((DOWN, Q)):
        w = weight(40 + i, 9, 44)
        w[3, 4:8] = (0.0, -0.0, 0.25, 0.0)
        if fp8:
            scale = bf16(block_scale(w, (1, 44)))
            codes = e4m3(w / from_bf16(scale))
            parts, mask = bitmask(module, codes, "F8_E4M3", np.abs(E4M3[codes]))
            tensors |= parts | {f"{module}.weight_scale": ("BF16", scale)}
            expected[module] = from_bf16(bf16(E4M3[np.where(mask, codes, 0)] * from_bf16(scale)))
        else:
            values = bf16(w) if i == 0 else w
            read = from_bf16(values) if i == 0 else w
            parts, mask = bitmask(module, values, "BF16" if i == 0 else "F32", np.abs(read))
            tensors |= parts
            expected[module] = np.where(mask, read, np.float32(0))
    sparsity = {"format": "sparse-24-bitmask", "global_sparsity": 0.5, "sparsity_structure": "2:4", "targets": ["Linear"],
                "ignore": ["lm_head"]}
    quant = {"quant_method": "compressed-tensors", "sparsity_config": sparsity, "ignore": ["lm_head"]}
    if fp8:
        quant |= {"format": "float-quantized", "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
            "num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel", "dynamic": False,
            "group_size": None, "block_structure": None, "actorder": None}}}}
    write(name, tensors, expected, {"config.json": config(quant)})


# ---- viva's own (docs/formats.md)


def viva() -> None:
    tensors, expected = dense()
    modules = {}

    def add(module: str, word: str, packed: np.ndarray, scale: tuple, values: np.ndarray | None, shape: tuple) -> None:
        modules[module] = {"format": word}
        tensors[f"{module}.weight_packed"] = ("U8", packed)
        tensors[f"{module}.weight_scale"] = scale
        tensors[f"{module}.weight_shape"] = ("I64", np.array(shape))
        if values is not None:
            expected[module] = values

    w = weight(50, 7, 40)
    exponents = np.ceil(np.log2(block_scale(w, (1, 32)))).astype(int)
    scale = np.exp2(exponents.astype(np.float32))
    codes = e4m3(w / grid(scale, 7, 40, (1, 32)))
    add(DOWN, "fp8-b32", codes, ("F8_E8M0", exponents + 127), E4M3[codes] * grid(scale, 7, 40, (1, 32)), w.shape)
    half = block_scale(w, (1, 40)).astype(np.float16)
    codes = e4m3(w / half.astype(np.float32))
    add(Q, "fp8", codes, ("F16", half), E4M3[codes] * half.astype(np.float32), w.shape)
    up = "model.layers.0.mlp.up_proj"
    w = weight(51, 5, 27)
    divisor = np.float32(2688) / np.abs(w).max()
    codes, scale = nvfp4_codes(w, 1 / divisor)
    add(up, "nvfp4", pack_nibbles(codes), ("F8_E4M3", scale), E2M1[codes] * grid(E4M3[scale] / divisor, 5, 27, (1, 16)), w.shape)
    tensors[f"{up}.weight_global_scale"] = ("F32", np.array([divisor]))
    gate = "model.layers.0.mlp.gate_proj"
    add(gate, "int4-24-g64-pairs", np.zeros((5, 72), np.uint8), ("F16", np.ones((5, 3))), None, (5, 130))
    k = "model.layers.0.self_attn.k_proj"
    add(k, "int8-24", np.zeros((3, 80), np.uint8), ("F32", np.ones((3, 1))), None, (3, 65))
    write("viva", tensors, expected, {"config.json": config({"quant_method": "viva", "version": 1, "modules": modules})})


# ---- by the package itself


def package(name: str, schemes: dict, fmt: str, dtype: str = "float32", shape=(24, 64), extra: dict | None = None) -> None:
    """schemes: group -> (targets, module, weights' arguments)."""
    import torch
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import (QuantizationArgs, QuantizationConfig, QuantizationScheme,
                                                 QuantizationStatus)
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
    from safetensors.torch import save_file

    kind = getattr(torch, dtype)
    tensors, expected, groups = {}, {}, {}
    for i, (group, (targets, module, arguments)) in enumerate(schemes.items()):
        args = QuantizationArgs(**arguments)
        own = "nvfp4-pack-quantized" if args.num_bits == 4 else fmt if fmt != "mixed-precision" else "float-quantized"
        scheme = QuantizationScheme(targets=targets, weights=args, format=own)
        groups[group] = scheme
        for n, mod in enumerate([module] if isinstance(module, str) else module):
            w = torch.from_numpy(weight(60 + 10 * i + n, *shape)).to(kind)
            state = {"weight": w}
            if args.strategy == "tensor":
                view, scale_shape = w.reshape(1, -1), (1,)
            elif args.strategy == "channel":
                view, scale_shape = w, (shape[0], 1)
            elif args.strategy == "block":
                b = args.block_structure
                rows, cols = -(-shape[0] // b[0]), -(-shape[1] // b[1])
                padded = torch.zeros(rows * b[0], cols * b[1], dtype=kind)
                padded[:shape[0], :shape[1]] = w
                view = padded.reshape(rows, b[0], cols, b[1]).permute(0, 2, 1, 3).reshape(rows * cols, -1)
                scale_shape = (rows, cols)
            else:
                view, scale_shape = w.reshape(-1, args.group_size), (shape[0], shape[1] // args.group_size)
            globally = generate_gparam(w.min(), w.max()) if args.num_bits == 4 else None
            scale, _ = calculate_qparams(view.amin(1), view.amax(1), args, global_scale=globally)
            state["weight_scale"] = scale.reshape(scale_shape)
            if globally is not None:
                state["weight_global_scale"] = globally
            compressor = BaseCompressor.get_value_from_registry(own)
            packed = compressor.compress(state, scheme)
            expected[mod] = compressor.decompress(packed, scheme)["weight"].to(torch.float32).numpy()
            tensors |= {f"{mod}.{key}": value.contiguous() for key, value in packed.items()}
            tensors[f"{mod}.input_global_scale" if args.num_bits == 4 else f"{mod}.input_scale"] = torch.ones(1)
    head = torch.from_numpy(weight(9, 6, 16)).to(torch.bfloat16)
    tensors |= {"lm_head.weight": head, "model.norm.weight": torch.ones(16, dtype=torch.bfloat16)}
    expected[HEAD] = head.to(torch.float32).numpy()
    quant = QuantizationConfig(config_groups=groups, format=fmt, quantization_status=QuantizationStatus.COMPRESSED,
                               ignore=["lm_head"]).model_dump(mode="json")
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    finish(folder, None, expected, {"config.json": config(quant | (extra or {}))})


def packages() -> None:
    fp8 = {"num_bits": 8, "type": "float", "symmetric": True}
    nvfp4 = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16}
    both = [DOWN, Q]

    def nv() -> dict:
        import torch
        return nvfp4 | {"scale_dtype": torch.float8_e4m3fn, "zp_dtype": torch.float8_e4m3fn}

    def one(targets, arguments):
        return {"group_0": (targets, both, arguments)}

    package("ct_tensor", one(["Linear"], fp8 | {"strategy": "tensor"}), "float-quantized")
    package("ct_tensor_bf16", one(["re:.*(q|down)_proj$"], fp8 | {"strategy": "tensor"}), "naive-quantized", "bfloat16")
    package("ct_channel", one(["Linear"], fp8 | {"strategy": "channel"}), "float-quantized")
    package("ct_channel_bf16", one(both, fp8 | {"strategy": "channel"}), "float-quantized", "bfloat16")
    package("ct_channel_f16", one([r"re:model\.layers\.\d+\..*"], fp8 | {"strategy": "channel"}), "float-quantized", "float16")
    package("ct_group", one(["Linear"], fp8 | {"strategy": "group", "group_size": 16}), "float-quantized")
    package("ct_block", one(["Linear"], fp8 | {"strategy": "block", "block_structure": [16, 32]}), "float-quantized",
            "bfloat16", (37, 75))
    package("ct_nvfp4", one(["Linear"], nv()), "nvfp4-pack-quantized", "bfloat16")
    package("ct_nvfp4_f32", one(["Linear"], nv()), "nvfp4-pack-quantized", "float32")
    package("ct_mixed", {"a": (["re:.*mlp.*"], DOWN, nv()), "b": ([Q], Q, fp8 | {"strategy": "channel"})}, "mixed-precision")


def corpus() -> None:
    """The seeds of tests/fuzz/fuzz_quant.c, which says what they look like: the folders, with small matrices' bytes."""
    SEEDS.mkdir(parents=True, exist_ok=True)
    for folder in sorted(OUT.iterdir()):
        weights = (folder / "model.safetensors").read_bytes()
        length = struct.unpack_from("<Q", weights)[0]
        header = json.loads(weights[8:8 + length])
        header.pop("__metadata__", None)
        lines = "\n".join(f"{n} {t['dtype']} {','.join(map(str, t['shape']))}" for n, t in header.items())
        texts = []
        for name in ("config.json", "hf_quant_config.json"):
            file = folder / name
            texts.append(json.dumps(json.loads(file.read_text()), separators=(",", ":")) if file.exists() else "")
        fill = weights[8 + length:][:256]
        (SEEDS / folder.name).write_bytes("\0".join(texts + [lines]).encode() + b"\0" + fill)


def without_package() -> None:
    deepseek("fp8_block", (16, 32), (37, 75))
    deepseek("fp8_block_128", (128, 128), (129, 130), "weight_scale")
    one_scale("fp8_tensor", 0, {"config.json": config({"quant_method": "fp8", "activation_scheme": "static"})})
    one_scale("modelopt_fp8", 1, {"config.json": config(None), "hf_quant_config.json": {
        "producer": {"name": "modelopt", "version": "0.19.0"},
        "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}})
    fbgemm()
    modelopt_nvfp4()
    sparse("sparse24", False)
    sparse("sparse24_fp8", True)
    viva()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--numpy", action="store_true")
    if not parser.parse_args().numpy:
        shutil.rmtree(OUT, ignore_errors=True)
        packages()
    without_package()
    corpus()


if __name__ == "__main__":
    main()
