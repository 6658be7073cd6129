#!/usr/bin/env python3
"""Writes tests/golden/dequant.txt: random blocks of each GGUF type as the gguf package (0.19) decodes them.

The blocks' bytes are splitmix64's output for a counter that starts at the type's id times 2^32 (little endian), so every
scale occurs: NaN, infinities, subnormals. Lines "TYPE ID BLOCKS HASH SAMPLE…": the hash of all values' bits (mix_sum of
mkgolden_numbers.py), NaN written as 0x7fc00000, and 16 values spread over the blocks, for finding a fault.
"""
import pathlib

import gguf
import numpy as np

from mkgolden_numbers import bits32, mix_sum

TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
         "IQ4_XS", "MXFP4", "NVFP4"]
VALUES = 1 << 18  # of each type
SAMPLES = 16


def random_bytes(start: int, count: int) -> np.ndarray:
    z = (np.arange(1, (count + 7) // 8 + 1, dtype=np.uint64) + np.uint64(start)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))).view(np.uint8)[:count].copy()


def main() -> None:
    lines = []
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = VALUES // elements
        data = random_bytes(int(kind) << 32, blocks * size)
        with np.errstate(all="ignore"):
            bits = bits32(gguf.quants.dequantize(data, kind))
        samples = bits[:: bits.size // SAMPLES + 1]
        lines.append(f"{name} {int(kind)} {blocks} {mix_sum(bits):016x} " + " ".join(f"{x:08x}" for x in samples) + "\n")
    (pathlib.Path(__file__).parents[1] / "golden" / "dequant.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
