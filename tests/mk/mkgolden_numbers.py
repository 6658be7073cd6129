#!/usr/bin/env python3
"""Writes tests/golden/numbers.txt: small number formats as torch and numpy decode and encode them.

Lines "NAME COUNT HASH": the hash of COUNT results (see mix_sum), NaN written as 0x7fc00000 (or 0x7e00 and 0x7fc0 for 16
bits). tests/number/test_number.c makes the same sequences. Needs numpy and torch.
"""
import pathlib

import numpy as np
import torch

STEP = 65537  # of the sweep over all 2^32 FP32 patterns


def mix_sum(values: np.ndarray) -> int:
    """Sum of splitmix64's finaliser over value + index·2^32, modulo 2^64."""
    z = values.astype(np.uint64) + (np.arange(values.size, dtype=np.uint64) << np.uint64(32))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int((z ^ (z >> np.uint64(31))).sum(dtype=np.uint64))


def bits32(x: np.ndarray) -> np.ndarray:
    bits = x.astype(np.float32).view(np.uint32).copy()
    bits[np.isnan(x)] = 0x7FC00000
    return bits


def decoded(codes: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    return torch.from_numpy(codes.copy()).view(dtype).to(torch.float32).numpy()


def main() -> None:
    bytes_all = np.arange(256, dtype=np.uint8)
    words_all = np.arange(65536, dtype=np.uint16)
    sweep = (np.arange(65536, dtype=np.uint64) * STEP).astype(np.uint32)
    floats = sweep.view(np.float32)
    nan = np.isnan(floats)
    with np.errstate(over="ignore"):
        halves = floats.astype(np.float16).view(np.uint16).copy()
    halves[nan] = 0x7E00
    brains = torch.from_numpy(floats.copy()).to(torch.bfloat16).view(torch.uint16).numpy().copy()
    brains[nan] = 0x7FC0
    e2m1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]  # OCP MX specification, table 5.3.3
    fours = np.array(e2m1 + [-x for x in e2m1], dtype=np.float32)
    with np.errstate(invalid="ignore"):
        results = {
            "f16_decode": bits32(words_all.view(np.float16).astype(np.float32)),
            "bf16_decode": bits32(decoded(words_all, torch.bfloat16)),
            "e4m3_decode": bits32(decoded(bytes_all, torch.float8_e4m3fn)),
            "e5m2_decode": bits32(decoded(bytes_all, torch.float8_e5m2)),
            "e8m0_decode": bits32(decoded(bytes_all, torch.float8_e8m0fnu)),
            "e2m1_decode": bits32(fours),
            "f16_encode": halves,
            "bf16_encode": brains,
        }
    out = pathlib.Path(__file__).parents[1] / "golden" / "numbers.txt"
    out.write_text("".join(f"{name} {v.size} {mix_sum(v):016x}\n" for name, v in results.items()))


if __name__ == "__main__":
    main()
