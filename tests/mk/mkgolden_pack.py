#!/usr/bin/env python3
"""Writes tests/golden/pack.txt: what the rules of src/pack/pack.h make of given matrices, by NumPy.

Nothing is shared with the C code: codes are found as the nearest of a table of all values. A line has the spec, the matrix
(kind, rows, columns), and what must come of it: the scale type after the fallback, the matrix's number, bytes in all, the
hash of the bytes (mix_sum of mkgolden_numbers.py), the hash of the unpacked values, and the first 16 bytes for finding a
fault. Fields are named in the first line.
"""
import itertools
import pathlib

import numpy as np

from mkgolden_dequant import random_bytes
from mkgolden_numbers import bits32, mix_sum

F = np.float32
ROWS, COLUMNS, KINDS = 3, (37, 1100), 5
F32, F16, E8M0, E4M3 = range(4)
SCALE_BYTES = (4, 2, 1, 1)
PAIRS_OF_4 = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]


def matrix(kind: int, rows: int, cols: int) -> np.ndarray:
    whole = random_bytes((kind << 32) + cols, 2 * rows * cols).view(np.int16).astype(np.int64).reshape(rows, cols)
    if kind == 1:  # few values: ties, zeros of both signs
        values = (whole >> 12) * 2.0**-3
        values[(values == 0) & (np.arange(cols) % 3 == 0)] = -0.0
        return values.astype(F)
    exponent = {0: -12, 2: -12, 3: -149, 4: 112}[kind]  # 3: subnormal, 4: near the largest
    values = whole * 2.0**exponent
    if kind == 2:  # rows of different size, one of zeros, one whose columns fall away
        values[1] = 0
        values[2] *= 2.0 ** -(np.arange(cols) // 16 % 24)
    return values.astype(F)


def keep_mask(rows: int, cols: int) -> np.ndarray:
    keep = np.zeros((rows, (cols + 3) // 4 * 4), bool)
    for r, g in itertools.product(range(rows), range(keep.shape[1] // 4)):
        for place in PAIRS_OF_4[(7 * r + 5 * g) % 6]:
            keep[r, 4 * g + place] = True
    return keep[:, :cols]


def decode_table(exponent_bits: int, mantissa_bits: int, bias: int, count: int) -> np.ndarray:
    code = np.arange(count)
    exponent, mantissa = code >> mantissa_bits, code & ((1 << mantissa_bits) - 1)
    fraction = mantissa / 2.0**mantissa_bits
    return np.where(exponent == 0, fraction * 2.0 ** (1 - bias), (1 + fraction) * 2.0 ** (exponent - bias))


E4M3_VALUES = decode_table(4, 3, 7, 127)  # code 127 is NaN
E2M1_VALUES = decode_table(2, 1, 1, 8)


def encode(x: np.ndarray, table: np.ndarray, sign: int) -> np.ndarray:
    """Nearest of the table, ties to the even code, saturating."""
    magnitude = np.minimum(np.abs(x.astype(np.float64)), table[-1])
    above = np.clip(np.searchsorted(table, magnitude), 1, len(table) - 1)
    low, high = magnitude - table[above - 1], table[above] - magnitude
    down = (low < high) | ((low == high) & (above % 2 == 1))
    return (np.where(down, above - 1, above) + sign * np.signbit(x)).astype(np.uint8)


def e4m3_value(codes: np.ndarray) -> np.ndarray:
    return (E4M3_VALUES[codes & 0x7F] * np.where(codes & 0x80, -1.0, 1.0)).astype(F)


def e2m1_value(codes: np.ndarray) -> np.ndarray:
    return (E2M1_VALUES[codes & 7] * np.where(codes & 8, -1.0, 1.0)).astype(F)


def padded(w: np.ndarray, multiple: int) -> np.ndarray:
    return np.pad(w, ((0, 0), (0, -w.shape[1] % multiple)))


def block_absmax(w: np.ndarray, block: int) -> np.ndarray:
    p = np.abs(padded(w, block or w.shape[1]))
    return p.reshape(w.shape[0], -1, block or w.shape[1]).max(axis=2)


def exact_scales(absmax: np.ndarray, largest: float) -> np.ndarray:
    scales = absmax / F(largest)
    return np.where(absmax == 0, F(1), np.where(scales == 0, F(2.0**-149), scales)).astype(F)


def stored(scales: np.ndarray, kind: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """The bytes, the values, and whether all fit."""
    if kind == F16:
        half = scales.astype(np.float16)
        return half, half.astype(F), bool(np.all(np.isfinite(half)) and np.all(half >= np.float16(2.0**-19)))
    if kind == E8M0:
        fraction, exponent = np.frexp(scales.astype(np.float64))
        power = exponent - (fraction == 0.5)
        return (np.clip(power, -127, 127) + 127).astype(np.uint8), 2.0 ** np.clip(power, -127, 127), bool(
            np.all(scales >= 2.0**-127))
    return scales, scales, True


def nibbles(codes: np.ndarray) -> np.ndarray:
    return (codes[:, 0::2] | codes[:, 1::2] << 4).astype(np.uint8)


def fp8(w, spec):
    wide = lambda s: np.repeat(s, spec["block"] or w.shape[1], axis=1)[:, : w.shape[1]]
    exact = exact_scales(block_absmax(w, spec["block"]), 448)
    kind = spec["scale"] if stored(exact, spec["scale"])[2] else F32
    held, values, _ = stored(exact, kind)
    codes = encode(w / wide(values).astype(F), E4M3_VALUES, 0x80)
    return codes, held, kind, F(1), e4m3_value(codes) * wide(values).astype(F)


def sparse(w, spec):
    rows, cols = w.shape
    int8 = spec["format"] == "INT8_24"
    largest = 127 if int8 else 7
    exact = exact_scales(block_absmax(w, spec["block"]), largest)
    kind = spec["scale"] if stored(exact, spec["scale"])[2] else F32
    held, values, _ = stored(exact, kind)
    wide = np.repeat(values, spec["block"] or cols, axis=1)[:, :cols].astype(F)
    quotient = np.clip(np.rint(w / wide), -largest, largest).astype(np.int64)
    size = np.abs(w.astype(np.float64))
    order = np.arange(padded(w, 64).shape[1])
    if spec["keep"]:
        mask = keep_mask(rows, cols)
        quotient, size = np.where(mask, quotient, 0), mask.astype(float)
    quotient, size = padded(quotient, 64), padded(size, 64)
    if spec["pairs"]:
        f = size.astype(F)
        pair = f[:, 0::2] + f[:, 1::2]
        size = np.repeat(pair, 2, axis=1)
        order = order.reshape(-1, 8)[:, [0, 2, 4, 6, 1, 3, 5, 7]].reshape(-1)
    quotient, size = quotient[:, order], size[:, order]
    groups = size.reshape(rows, -1, 4)
    kept = np.sort(np.argsort(-groups, axis=2, kind="stable")[:, :, :2], axis=2)
    codes = np.take_along_axis(quotient.reshape(rows, -1, 4), kept, axis=2)
    index = nibbles((kept[:, :, 0] | kept[:, :, 1] << 2).astype(np.uint8)).reshape(rows, -1, 8)
    bytes_ = codes.reshape(rows, -1, 32).astype(np.int8).view(np.uint8)
    if not int8:
        bytes_ = nibbles((bytes_ & 15).reshape(rows, -1)).reshape(rows, -1, 16)
    blocks = np.concatenate([bytes_, index], axis=2).reshape(rows, -1)
    dense = np.zeros_like(groups, dtype=np.int64)
    np.put_along_axis(dense, kept, codes, axis=2)
    back = np.zeros((rows, order.size), np.int64)
    back[:, order] = dense.reshape(rows, -1)
    return blocks, held, kind, F(1), back[:, :cols].astype(F) * wide


def nvfp4(w, spec):
    rows, cols = w.shape
    absmax = np.abs(w).max()
    multiplier = spec["multiplier"]
    if absmax == 0:
        g = F(1)
    elif multiplier:
        g = max(absmax / F(2688), F(2.0**-118))
    else:
        g = min(F(2688) / absmax, F(2.0**118))
    blocks = padded(w, 16).reshape(rows, -1, 16)
    amax = np.abs(blocks).max(axis=2)
    wanted = lambda x: amax / F(x) / g if multiplier else amax / F(x) * g
    factor = lambda s: F(1) / (s * g) if multiplier else g / s

    def error(codes):
        s = e4m3_value(codes)
        total = np.zeros(codes.shape, F)
        for i in range(16):
            scaled = blocks[:, :, i] * factor(s)
            d = scaled - e2m1_value(encode(scaled, E2M1_VALUES, 8))
            total = total + d * d
        return total * (s * s)

    six = encode(wanted(6), E4M3_VALUES, 0x80)
    chosen = np.where(six == 0, 0x20, six).astype(np.uint8)
    if spec["search"] == 1:
        tried = []
    elif spec["search"] == 2:
        tried = [six, encode(wanted(4), E4M3_VALUES, 0x80)]
    else:
        tried = [np.clip(six.astype(int) + i, 1, 0x7E).astype(np.uint8) for i in range(-8, 8)]
    if tried:
        errors = np.stack([error(np.where(six == 0, 0x20, t).astype(np.uint8)) for t in tried])
        best = np.take_along_axis(np.stack(tried), np.argmin(errors, axis=0)[None], axis=0)[0]
        chosen = np.where(six == 0, chosen, best)
    s = e4m3_value(chosen)
    codes = encode(blocks * factor(s)[:, :, None], E2M1_VALUES, 8)
    value = e2m1_value(codes) * (s * g if multiplier else s / g)[:, :, None]
    return nibbles(codes.reshape(rows, -1)), chosen, E4M3, g, value.reshape(rows, -1)[:, :cols]


def dense(w, spec):
    if spec["format"] == "F32":
        return w, None, F32, F(1), w
    if spec["format"] == "F16":
        half = w.astype(np.float16)
        return half, None, F32, F(1), half.astype(F)
    bits = w.view(np.uint32).astype(np.uint64)
    high = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return high, None, F32, F(1), (high.astype(np.uint32) << 16).view(F)


def whole(codes, scales) -> np.ndarray:
    data = np.ascontiguousarray(codes).view(np.uint8).reshape(-1)
    if scales is None:
        return data
    data = np.pad(data, (0, -data.size % 64))
    return np.concatenate([data, np.ascontiguousarray(scales).view(np.uint8).reshape(-1)])


FIELDS = ("format", "block", "scale", "search", "multiplier", "pairs", "keep")


def specs():
    for block, scale in itertools.product((0, 16, 32, 64, 128), (F32, F16, E8M0)):
        yield fp8, ("FP8", block, scale, 0, 0, 0, 0)
    for keep in (0, 1):
        yield sparse, ("INT8_24", 0, F32, 0, 0, 0, keep)
    for block, scale in itertools.product((0, 32, 64, 128), (F32, F16)):
        yield sparse, ("INT4_24", block, scale, 0, 0, 0, 0)
        yield sparse, ("INT4_24", block, scale, 0, 0, 1, 0)
    yield sparse, ("INT4_24", 128, F16, 0, 0, 0, 1)
    for search, multiplier in itertools.product((0, 1, 2), (0, 1)):
        yield nvfp4, ("NVFP4", 16, E4M3, search, multiplier, 0, 0)
    for name in ("F32", "BF16", "F16"):
        yield dense, (name, 0, F32, 0, 0, 0, 0)


def main() -> None:
    lines = ["# " + " ".join(FIELDS) + " kind rows cols | scale global bytes hash unpacked first\n"]
    for (make, fields), kind, cols in itertools.product(specs(), range(KINDS), COLUMNS):
        w = matrix(kind, ROWS, cols)
        with np.errstate(all="ignore"):
            codes, scales, held, g, values = make(w, dict(zip(FIELDS, fields)))
        if scales is not None and held == F32:
            scales = scales.astype(F)
        data = whole(codes, scales)
        unpacked = mix_sum(bits32(values.reshape(-1)))
        lines.append(" ".join(map(str, (*fields, kind, ROWS, cols, held))) + f" {F(g).view(np.uint32):08x} {data.size} "
                     f"{mix_sum(data):016x} {unpacked:016x} {data[:16].tobytes().hex()}\n")
    (pathlib.Path(__file__).parents[1] / "golden" / "pack.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
