"""Random small models as Hugging Face folders, made from seeds.

transformers wrote these folders once (tools/make_small_models.py). Committed are its JSON files, the headers of its
safetensors files and their checksums; the weights come from the functions below, and the checksums prove that the files
are byte for byte what transformers wrote. Needs numpy alone.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "reference"


def near_normal(seed, name, count):
    """count float32 values, roughly normal with variance 1: sums of four 16-bit numbers of PCG64's raw stream, which numpy
    promises never to change."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "little")
    raw = np.random.PCG64(key).random_raw(count)
    parts = raw.view(np.uint16).reshape(count, 4).astype(np.int64).sum(axis=1)
    return ((parts - 2 * 65535) / (65535 / np.sqrt(3.0))).astype(np.float32)


def weight(seed, name, shape):
    """A tensor scaled so that logits and attention scores have a spread of about 1: a wrong rotation or head shows."""
    values = near_normal(seed, name, int(np.prod(shape)))
    if name.endswith("norm.weight"):
        values = 1 + np.float32(0.25) * values
    elif name.endswith(".bias"):
        values = np.float32(0.25) * values
    elif "embed_tokens" in name:
        values = np.float32(0.3) * values
    else:
        gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.0
        values = np.float32(gain / np.sqrt(shape[-1])) * values
    return values.reshape(shape)


def encode(values, dtype):
    """float32 values as a safetensors dtype's bytes; BF16 rounds to nearest even."""
    if dtype == "F32":
        return values.astype("<f4").tobytes()
    if dtype == "F16":
        return values.astype("<f2").tobytes()
    if dtype == "BF16":
        bits = np.ascontiguousarray(values, "<f4").view(np.uint32).astype(np.uint64)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
    raise ValueError(dtype)


def safetensors_bytes(header_text, seed):
    """The file whose header is header_text (padding included)."""
    header = json.loads(header_text)
    header.pop("__metadata__", None)
    parts = [len(header_text.encode()).to_bytes(8, "little"), header_text.encode()]
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        data = encode(weight(seed, name, entry["shape"]), entry["dtype"])
        if begin != end or stop - begin != len(data):
            raise ValueError(f"{name}: offsets {begin}, {stop} do not fit {len(data)} bytes at {end}")
        parts.append(data)
        end = stop
    return b"".join(parts)


def manifest():
    return json.loads((GOLDEN / "small_models.json").read_text(encoding="utf-8"))


def write(case, folder):
    """Writes one case of the manifest as a folder; raises when a file is not what transformers wrote."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in case["texts"].items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, file in case["safetensors"].items():
        data = safetensors_bytes(file["header"], case["seed"])
        if hashlib.sha256(data).hexdigest() != file["sha256"]:
            raise ValueError(f"{name}: not the bytes that transformers wrote")
        (folder / name).write_bytes(data)
    return folder
