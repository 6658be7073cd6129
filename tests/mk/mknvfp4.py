"""Writes tests/golden/nvfp4.txt: blocks of 16 as the package compressed-tensors 0.20 has them in NVFP4.

    python3 tests/mk/mknvfp4.py > tests/golden/nvfp4.txt      with compressed-tensors 0.20 and torch installed

A line is a block: the tensor's largest magnitude and the 16 values (FP32 as hexadecimal), the E4M3 scale, 8 bytes of codes.
Three kinds: values on and beside the middle between two codes; values whose code another order of the two divisions would
change (found among 2^25 Gaussian ones); zeros of both signs, subnormals and blocks far below their tensor's largest."""

import sys

import numpy as np
import torch
from compressed_tensors.compressors.nvfp4.helpers import quantize_and_pack_fp4
from compressed_tensors.quantization import QuantizationArgs, QuantizationStrategy, QuantizationType
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

ARGS = QuantizationArgs(num_bits=4, type=QuantizationType.FLOAT, strategy=QuantizationStrategy.TENSOR_GROUP,
                        symmetric=True, group_size=16, scale_dtype=torch.float8_e4m3fn)
MIDDLES = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5], np.float32)


def pack(blocks, absmax):
    """The package's scales and codes of blocks [n, 16] in a tensor with this largest magnitude."""
    x = torch.from_numpy(blocks)
    total = generate_gparam(torch.tensor([-absmax]), torch.tensor([absmax]))
    scales, _ = calculate_qparams(x.amin(-1, keepdim=True), x.amax(-1, keepdim=True), ARGS, total)
    codes = quantize_and_pack_fp4(x, scales.float(), total)
    return scales.to(torch.float8_e4m3fn).view(torch.uint8).numpy().reshape(-1), codes.numpy(), float(total)


def write(blocks, absmax):
    scales, codes, _ = pack(blocks, absmax)
    head = np.float32(absmax).tobytes()[::-1].hex()
    for block, scale, code in zip(blocks, scales, codes):
        print(head, " ".join(f"{bits:08x}" for bits in block.view(np.uint32)), f"{scale:02x}", code.tobytes().hex())


def middles(random, count):
    blocks = random.standard_normal((count, 16)).astype(np.float32)
    blocks[:, 0] = np.abs(blocks).max(1)
    absmax = np.float32(np.abs(blocks).max() * 1.5)
    scales, _, total = pack(blocks, absmax)
    step = torch.from_numpy(scales).view(torch.float8_e4m3fn).float().numpy() / np.float32(total)
    for i in range(1, 16):
        at = random.choice(MIDDLES, count) * step * np.where(random.random(count) < 0.5, -1, 1).astype(np.float32)
        near = (at.view(np.int32) + random.integers(-1, 2, count).astype(np.int32)).view(np.float32)
        blocks[:, i] = np.where(np.abs(near) < blocks[:, 0], near, 0)
    return blocks, absmax


def orders(random, count):
    blocks = random.standard_normal((count, 16)).astype(np.float32)
    absmax = np.abs(blocks).max()
    scales, _, total = pack(blocks, absmax)
    s = torch.from_numpy(scales).view(torch.float8_e4m3fn).float().numpy()[:, None]
    one, other = np.abs(blocks / (s / np.float32(total))), np.abs(blocks * (np.float32(total) / s))
    differ = (np.searchsorted(MIDDLES, one) != np.searchsorted(MIDDLES, other)).any(1)
    return blocks[differ], absmax


def special():
    zero = np.zeros(16, np.float32)
    signs = np.tile(np.array([0.0, -0.0, 1, -1], np.float32), 4)
    small = np.arange(-8, 8, dtype=np.float32) * np.float32(1e-45)
    ramp = np.linspace(-1, 1, 16, dtype=np.float32)
    return np.stack([zero, -zero, signs, small, *(ramp * np.float32(10.0**-e) for e in range(9))])


def main():
    random = np.random.default_rng(0)
    for _ in range(8):
        write(*middles(random, 48))
    print(f"{len(orders(np.random.default_rng(1), 2**15)[0])} of 2^15 blocks", file=sys.stderr)
    for seed in range(4):
        write(*orders(np.random.default_rng(seed), 2**21))
    for absmax in np.float32([1, 3.3e-30, 1e30, 448, 2688]):
        write(special() * absmax, absmax)


if __name__ == "__main__":
    main()
