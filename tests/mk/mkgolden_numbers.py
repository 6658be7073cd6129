#!/usr/bin/env python3
"""Writes tests/golden/numbers.txt and number_runs.txt: small number formats as ml_dtypes and numpy have them.

numbers.txt has lines "NAME COUNT HASH": the hash of COUNT results (see mix_sum), NaN written as 0x7fc00000 (or 0x7e00
and 0x7fc0 for 16 bits). number_runs.txt has lines "FORMAT FIRST CODE", in hexadecimal: all FP32 patterns from FIRST up
to the next line's FIRST become CODE, so a format's lines say what becomes of each of the 2^32. For 16 bits numbers.txt
has the hash of those lines, as FORMAT_firsts and FORMAT_codes. tests/number makes the same sequences.

Where viva saturates and ml_dtypes gives infinity or NaN, the rule of src/number/number.h is applied, in the functions
below. Needs numpy and ml_dtypes; takes some minutes, because it encodes every pattern.
"""
import pathlib
import sys
from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
STEP = 65537  # of the sweep over all 2^32 FP32 patterns
CHUNK = 1 << 22

SMALL = {
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e8m0": ml_dtypes.float8_e8m0fnu,
    "e2m1": ml_dtypes.float4_e2m1fn,
}


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


def decoded(codes: np.ndarray, dtype: type) -> np.ndarray:
    return bits32(codes.copy().view(dtype).astype(np.float32))


def as_f16(x: np.ndarray) -> np.ndarray:
    codes = x.astype(np.float16).view(np.uint16).copy()
    codes[np.isnan(x)] = 0x7E00
    return codes


def as_bf16(x: np.ndarray) -> np.ndarray:
    codes = x.astype(ml_dtypes.bfloat16).view(np.uint16).copy()
    codes[np.isnan(x)] = 0x7FC0
    return codes


def as_float8(x: np.ndarray, dtype: type, largest: int, nan: int) -> np.ndarray:
    """A number for which ml_dtypes has no finite code becomes the largest."""
    codes = x.astype(dtype)
    sign = np.signbit(x).astype(np.uint8) << 7
    overflow = ~np.isfinite(codes.astype(np.float32))
    codes = np.where(overflow, sign | np.uint8(largest), codes.view(np.uint8))
    return np.where(np.isnan(x), sign | np.uint8(nan), codes)


def as_e4m3(x: np.ndarray) -> np.ndarray:
    return as_float8(x, SMALL["e4m3"], 0x7E, 0x7F)


def as_e5m2(x: np.ndarray) -> np.ndarray:
    return as_float8(x, SMALL["e5m2"], 0x7B, 0x7E)


def as_e2m1(x: np.ndarray) -> np.ndarray:
    """ml_dtypes saturates too; NaN is 0 here."""
    return np.where(np.isnan(x), np.uint8(0), x.astype(SMALL["e2m1"]).view(np.uint8))


def as_e8m0(x: np.ndarray) -> np.ndarray:
    """Zeros become the smallest power of two, what is too large the largest."""
    codes = x.astype(SMALL["e8m0"]).view(np.uint8)
    codes = np.where((x > 0) & (codes == 0xFF), np.uint8(0xFE), codes)
    return np.where(x == 0, np.uint8(0), codes)


def as_e8m0_up(x: np.ndarray) -> np.ndarray:
    """The exact exponent, one more unless x is a power of two."""
    fraction, exponent = np.frexp(x.astype(np.float64))
    codes = exponent + 126 + (fraction > 0.5)
    usable = (x >= 0) & (x <= 2.0**127)
    return np.where(usable, np.where(x == 0, 0, np.maximum(codes, 0)), 0xFF).astype(np.uint8)


def as_integer(x: np.ndarray, limit: int) -> np.ndarray:
    """ml_dtypes.int4 and numpy.int8 cut off and wrap around: rounded and clipped first, they do not."""
    rounded = np.clip(np.rint(np.where(np.isnan(x), np.float32(0), x)), -limit, limit)
    return rounded.astype(np.int8)


def as_int4(x: np.ndarray) -> np.ndarray:
    return as_integer(x, 7).astype(ml_dtypes.int4).view(np.uint8) & 0xF


def as_int8(x: np.ndarray) -> np.ndarray:
    return as_integer(x, 127).view(np.uint8)


ENCODERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "e4m3": as_e4m3,
    "e5m2": as_e5m2,
    "e8m0": as_e8m0,
    "e8m0_up": as_e8m0_up,
    "e2m1": as_e2m1,
    "int4": as_int4,
    "int8": as_int8,
}
ENCODERS16 = {"f16": as_f16, "bf16": as_bf16}


def runs(encode: Callable[[np.ndarray], np.ndarray]) -> Iterator[tuple[int, int]]:
    """(first pattern, code) of each run of equal codes, over all 2^32 patterns."""
    last = -1
    for start in range(0, 1 << 32, CHUNK):
        codes = encode(np.arange(start, start + CHUNK, dtype=np.uint64).astype(np.uint32).view(np.float32))
        changes = np.flatnonzero(codes[1:] != codes[:-1]) + 1
        for at in ([0] if codes[0] != last else []) + changes.tolist():
            yield start + at, int(codes[at])
        last = int(codes[-1])


def numbers() -> dict[str, np.ndarray]:
    bytes_all = np.arange(256, dtype=np.uint8)
    words_all = np.arange(65536, dtype=np.uint16)
    floats = (np.arange(65536, dtype=np.uint64) * STEP).astype(np.uint32).view(np.float32)
    return {
        "f16_decode": decoded(words_all, np.float16),
        "bf16_decode": decoded(words_all, ml_dtypes.bfloat16),
        "e4m3_decode": decoded(bytes_all, SMALL["e4m3"]),
        "e5m2_decode": decoded(bytes_all, SMALL["e5m2"]),
        "e8m0_decode": decoded(bytes_all, SMALL["e8m0"]),
        "e2m1_decode": decoded(bytes_all[:16], SMALL["e2m1"]),
        "int4_decode": decoded(bytes_all[:16], ml_dtypes.int4),
        "f16_encode": as_f16(floats),
        "bf16_encode": as_bf16(floats),
    }


def main() -> None:
    np.seterr(over="ignore", invalid="ignore")
    results = numbers()
    for name, encode in ENCODERS16.items():
        table = np.array(list(runs(encode)), dtype=np.uint64)
        results[f"{name}_firsts"], results[f"{name}_codes"] = table[:, 0], table[:, 1]
        print(name, len(table), file=sys.stderr)
    lines = [f"{name} {v.size} {mix_sum(v):016x}\n" for name, v in results.items()]
    (GOLDEN / "numbers.txt").write_text("".join(lines))
    lines = []
    for name, encode in ENCODERS.items():
        table = list(runs(encode))
        lines += [f"{name} {first:08x} {code:02x}\n" for first, code in table]
        print(name, len(table), file=sys.stderr)
    (GOLDEN / "number_runs.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
