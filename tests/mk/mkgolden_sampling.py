#!/usr/bin/env python3
"""Writes tests/golden/sampling.txt from tests/python/sampling_oracle.py, for tests/text/test_sampling.c.

    case INDEX COUNT HASH P0 P_LAST    candidates of case INDEX: how many, mix of their ids, first and last probability
    draw ID ID ...                     64 tokens of {temperature 0.8, top_k 40, top_p 0.95, seed 42} on 1,000 logits
"""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python"))
import sampling_oracle as oracle  # noqa: E402


def main():
    with open(ROOT / "golden" / "sampling.txt", "w") as file:
        for index in range(1000):
            logits, options, history = oracle.vector(index)
            found = oracle.candidates(logits, history=history, **options)
            total = 0
            for token, _ in found:
                total = oracle.mix(total, token + 1)
            print("case", index, len(found), f"{total:016x}", f"{found[0][1]:.9f}", f"{found[-1][1]:.9f}", file=file)
        state, logits = 7, []
        for _ in range(1000):
            state = oracle.mix(state, 1)
            logits.append((state >> 40) / 2.0**20 - 8)
        drawn = [oracle.sample(logits, 42, 0, position, temperature=0.8, top_k=40, top_p=0.95) for position in range(64)]
        print("draw", *drawn, file=file)


main()
