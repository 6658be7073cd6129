#!/usr/bin/env python3
"""Measures how much of a format's perplexity is luck of rounding, for docs/numerics.md.

  viva tokenize -m SmolLM2-135M-Instruct-Q4_1.gguf -f FILE --ids > tokens.json
  tools/measure_rounding.py --tokens tokens.json [--models FOLDER] [--windows 100] [--device cuda]

Needs tools/requirements-reference.txt; minutes on a GPU, hours on a CPU. Every matrix and the head of SmolLM2 are held as a rule
holds them, with the scales moved (NVFP4 by up to 10 %, FP8 by 5 to 70 %): that leaves the error of the weights as it is and rounds them to other codes.
Printed for each rule: perplexity's rise over F32 (windows of 512 tokens, the last 255 of each scored, as `viva perplexity` does) and
the mean KL, each with the mean over the moves, its standard error, and every single rise.
"""

import argparse
import json
import os
from pathlib import Path

import torch
import transformers

MODEL = "SmolLM2-135M-Instruct-Q4_1.gguf"
WINDOW, FIRST_SCORED = 512, 257
NVFP4_MOVES = (1.0, 0.985, 0.97, 0.955, 0.94, 0.925, 0.91, 0.895)  # of G = 2688 / absmax
FP8_MOVES = (1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.7)  # of absmax / 448: larger, so that nothing saturates
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
E2M1_MIDDLES = (E2M1[1:] + E2M1[:-1]) / 2
E4M3 = torch.arange(127, dtype=torch.uint8).view(torch.float8_e4m3fn).float()  # the codes that are not negative
E4M3_MIDDLES = (E4M3[1:] + E4M3[:-1]) / 2


def e2m1(x):
    """Nearest E2M1 value, ties to the even code, saturating."""
    middles, size = E2M1_MIDDLES.to(x.device), x.abs()
    code = torch.bucketize(size, middles)
    tie = (code < 7) & (size == middles[code.clamp(max=6)]) & (code % 2 == 1)
    return E2M1.to(x.device)[code + tie.int()].copysign(x)


def nvfp4(w, search, move):
    """w held as NVFP4: search is absmax, four-over-six or mse (the 16 scale codes around that of absmax / 6)."""
    scale_global = 2688 / w.abs().max() * move
    blocks = w.reshape(-1, 16)
    absmax = blocks.abs().amax(1)

    def code(largest):
        return torch.bucketize(absmax / largest * scale_global, E4M3_MIDDLES.to(w.device)).clamp(1, 126)

    six = code(6)
    tried = {"absmax": lambda: [six], "four-over-six": lambda: [six, code(4)],
             "mse": lambda: [(six + d).clamp(1, 126) for d in range(-8, 8)]}[search]()
    best, best_error = None, None
    for codes in tried:
        scale = (E4M3.to(w.device)[codes] / scale_global)[:, None]
        held = e2m1(blocks / scale) * scale
        error = (held - blocks).square().sum(1, keepdim=True)
        best = held if best is None else torch.where(error < best_error, held, best)
        best_error = error if best_error is None else torch.minimum(error, best_error)
    return best.reshape(w.shape)


def fp8(w, move):
    scale = w.abs().amax(1, keepdim=True) / 448 * move
    return (w / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale


class Measure:
    def __init__(self, args):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(args.models, gguf_file=MODEL, dtype=torch.float32)
        self.model.to(args.device).eval()
        self.model.lm_head.weight = torch.nn.Parameter(self.model.lm_head.weight.detach().clone())  # not the embedding
        ids = torch.tensor(json.loads(Path(args.tokens).read_text()), device=args.device)
        self.windows = ids[: args.windows * WINDOW].reshape(-1, WINDOW)
        self.layers = [m for m in self.model.modules() if isinstance(m, torch.nn.Linear)]
        self.weights = [m.weight.detach().clone() for m in self.layers]
        self.reference = []
        self.perplexity = self.run()[0]

    @torch.no_grad()
    def run(self):
        """Perplexity and mean KL to the first run, over all windows."""
        first, loss, kl, count = not self.reference, 0.0, 0.0, 0
        for i in range(0, len(self.windows), 4):
            tokens = self.windows[i : i + 4]
            logp = self.model(tokens).logits[:, FIRST_SCORED - 1 : WINDOW - 1].log_softmax(-1)
            target = tokens[:, FIRST_SCORED:WINDOW, None]
            loss -= logp.gather(-1, target).double().sum().item()
            count += target.numel()
            if first:
                self.reference.append(logp)
            else:
                reference = self.reference[i // 4]
                kl += (reference.exp() * (reference - logp)).sum().double().item()
        return float(torch.tensor(loss / count).exp()), kl / count

    def rule(self, name, hold, moves):
        rises, kls = [], []
        for move in moves:
            for layer, weight in zip(self.layers, self.weights):
                layer.weight.data.copy_(hold(weight, move))
            perplexity, kl = self.run()
            rises.append(perplexity - self.perplexity)
            kls.append(kl)
        rise = torch.tensor(rises)
        error = rise.std(correction=1) / len(rises) ** 0.5
        print(f"| {name} | {rise.mean():.2f} ± {error:.2f} | {sum(kls) / len(kls):.4f} | "
              + ", ".join(f"{r:.2f}" for r in rises) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--models", default=os.environ.get("VIVA_MODELS", str(Path.home() / ".cache/viva/models")))
    parser.add_argument("--windows", type=int, default=100)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    measure = Measure(args)
    print(f"F32: {measure.perplexity:.4f}\n\n| rule | rise | mean KL | rises, scales × {NVFP4_MOVES} (fp8: {FP8_MOVES}) |\n|---|---|---|---|")
    for search in ("absmax", "four-over-six", "mse"):
        measure.rule(f"nvfp4, {search}", lambda w, move, s=search: nvfp4(w, s, move), NVFP4_MOVES)
    measure.rule("fp8 per channel", fp8, FP8_MOVES)


if __name__ == "__main__":
    main()
