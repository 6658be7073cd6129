"""The rules of viva/sampling.h, written for clarity: what the tests compare with."""

import math

import numpy as np

MASK = (1 << 64) - 1


def philox4x32(counter, key):
    """Ten rounds; counter of four and key of two 32-bit words."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (second >> 32) ^ b ^ k0, second & 0xFFFFFFFF, (first >> 32) ^ d ^ k1, first & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [a, b, c, d]


def uniform(seed, sequence, position):
    low = 0xFFFFFFFF
    words = philox4x32([position & low, position >> 32, sequence & low, sequence >> 32], [seed & low, seed >> 32])
    return ((words[1] << 32 | words[0]) >> 11) * 2.0**-53


def candidates(logits, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, history=()):
    """[(id, probability)], most probable first. Options count as FP32 numbers, as they are in the struct."""
    temperature, top_p, min_p = (float(np.float32(x)) for x in (temperature, top_p, min_p))
    logits, penalty = np.array(logits, np.float32), np.float32(repetition_penalty)
    for token in set(history):
        logits[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if temperature == 0:
        return [(order[0], 1.0)]
    if top_k > 0:
        order = order[:top_k]
    weights = [math.exp((float(logits[i]) - float(logits[order[0]])) / temperature) for i in order]
    weights = [w for w in weights if w > 0]
    if top_p < 1:
        wanted, total, kept = top_p * sum(weights), 0.0, 0
        while kept == 0 or total < wanted:
            total += weights[kept]
            kept += 1
        weights = weights[:kept]
    weights = [w for w in weights if w >= min_p]
    return [(i, w / sum(weights)) for i, w in zip(order, weights)]


def sample(logits, seed, sequence, position, **options):
    left = candidates(logits, **options)
    target, total = uniform(seed, sequence, position), 0.0
    for token, probability in left:
        total += probability
        if total > target:
            return token
    return left[-1][0]


def mix(total, value):
    """splitmix64's finaliser of total + value."""
    z = (total + value) & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


SETTINGS = [dict(), dict(temperature=0.7), dict(temperature=1.5, top_k=5), dict(top_p=0.9), dict(top_p=0.5, temperature=0.9),
            dict(min_p=0.1), dict(temperature=0.8, top_k=40, top_p=0.95), dict(temperature=2.0, top_k=12, top_p=0.8, min_p=0.05),
            dict(repetition_penalty=1.3, top_k=20), dict(temperature=0.0), dict(top_k=1), dict(top_p=0.0)]


def vector(index):
    """Case index of 1,000: logits (every second one with many ties), options, history."""
    state = mix(index, 1)
    n = 1 + state % 300
    logits = []
    for _ in range(n):
        state = mix(state, 1)
        logits.append((state >> 8) % 48 / 8 - 3 if index % 2 else (state >> 40) / 2.0**20 - 8)
    history = [mix(state, k) % n for k in range(2, 12)]
    return np.array(logits, np.float32), SETTINGS[index % len(SETTINGS)], history
