#!/usr/bin/env python3
"""Measures what FP8 weights and FP8 activations cost each output channel of SmolLM2's real layers, for docs/numerics.md.

  tools/measure_w8a8.py --text FILE [--models FOLDER] [--tokens 512] [--threads N]

Needs tools/requirements-reference.txt. Every linear layer's real input (the text's first tokens) is multiplied in FP32 with
the layer's weights as they are, and as the scheme holds them. A channel's error is |y' - y| / |y| over all tokens (L2). Counted:
channels whose error is above 1 (nothing of the signal left), above 0.5 and above 0.1, and the median error.

broken: the encoder that the original used in its releases, in which all of [256, 448) became 448 after the scale.
"""

import argparse
import os
from pathlib import Path

import torch
import transformers

MODEL = "SmolLM2-135M-Instruct-Q4_1.gguf"
SCHEMES = [("right", None, "16"), ("right", 128, "16"), ("right", 64, "16"), ("right", 32, "16"), ("right", 16, "16"),
           ("right", None, "fp8"), ("right", 128, "fp8"), ("right", 64, "fp8"), ("right", 32, "fp8"), ("right", 16, "fp8"),
           ("broken", None, "16"), ("broken", 128, "16"), ("broken", 16, "16"),
           ("broken", None, "fp8"), ("broken", 128, "fp8"), ("broken", 16, "fp8")]


def e4m3(x, encoder):
    """Nearest E4M3 value of x, saturating."""
    y = x.clamp(-448, 448).to(torch.float8_e4m3fn).to(torch.float32)
    if encoder == "broken":
        y = torch.where(x.abs() >= 256, torch.copysign(torch.tensor(448.0), x), y)
    return y


def quantise(x, block, encoder):
    """Rows of x with a scale absmax / 448 for each block of columns (None: for the row)."""
    rows, cols = x.shape
    block = block or cols
    pad = -cols % block
    parts = torch.nn.functional.pad(x, (0, pad)).reshape(rows, -1, block)
    scale = parts.abs().amax(-1, keepdim=True) / 448
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return (e4m3(parts / scale, encoder) * scale).reshape(rows, -1)[:, :cols]


class Counter:
    """Channel errors of one scheme over all layers."""

    def __init__(self):
        self.errors = []

    def add(self, got, want):
        norm = want.norm(dim=0)
        self.errors.append((got - want).norm(dim=0)[norm > 0] / norm[norm > 0])

    def row(self):
        e = torch.cat(self.errors)
        share = [100 * (e > limit).float().mean().item() for limit in (1, 0.5, 0.1)]
        return len(e), *share, 100 * e.median().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True)
    parser.add_argument("--models", default=os.environ.get("VIVA_MODELS", str(Path.home() / ".cache/viva/models")))
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.models, gguf_file=MODEL, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.models, gguf_file=MODEL)
    ids = tokenizer(Path(args.text).read_text(encoding="utf-8")[: args.tokens * 8],
                    return_tensors="pt").input_ids[:, : args.tokens]
    counters = {s: Counter() for s in SCHEMES}

    def measure(module, inputs, _output):
        x, w = inputs[0].reshape(-1, inputs[0].shape[-1]), module.weight
        want = x @ w.T
        for scheme in SCHEMES:
            encoder, block, act = scheme
            xq = quantise(x, None, encoder) if act == "fp8" else x
            counters[scheme].add(xq @ quantise(w, block, encoder).T, want)

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "lm_head" not in name:
            module.register_forward_hook(measure)
    with torch.no_grad():
        model(ids)
    print(f"{ids.shape[1]} tokens")
    print("| encoder | weight scales | activations | channels | error > 1 | > 0.5 | > 0.1 | median error |")
    print("|---|---|---|---|---|---|---|---|")
    for (encoder, block, act), counter in counters.items():
        count, one, half, tenth, median = counter.row()
        print(f"| {encoder} | {f'block {block}' if block else 'channel'} | {act} | {count} | {one:.3f} % | {half:.3f} % |"
              f" {tenth:.2f} % | {median:.2f} % |")


if __name__ == "__main__":
    main()
