"""Random strings that are hard on tokenizers: all Unicode planes, unassigned and control characters, long runs, contractions,
numbers of many scripts, combining marks, jamo, and added tokens glued to text."""

import random

SPACES = [9, 10, 11, 12, 13, 32, 32, 32, 0x85, 0xA0, 0x1680, 0x2003, 0x2028, 0x3000, 0x200B, 0x180E, 0xFEFF]
EDGES = [0xD7FF, 0xE000, 0xFFFD, 0xFFFE, 0xFFFF, 0x10FFFF]
NUMBERS = [0x30, 0x39, 0x660, 0x966, 0xBD, 0xB2, 0x2160, 0x2460, 0x11DE0, 0x16FF4, 0x1D7CE, 0x10D40, 0x3007, 0x4E00]
COMPOSING = [0x1100, 0x1161, 0x11A8, 0xAC00, 0x1175, 0x11C2, 0x41, 0x45, 0x301, 0x308, 0x323, 0x340, 0x344, 0x958, 0x9DC,
             0x1F71, 0x2126, 0x212A, 0xFB1D, 0x11938, 0x1D15E]
CONTRACTION = [*map(ord, "'''sStTrReEvVmMlLdD"), 0x17F, 0x2019]
WORDS = ["'s", "'LL", "n't", " hello", " world\n", "  ", "\r\n\r\n", " \n ", "12345", " 67", "a1b2", "!!!\n", " ...",
         "def f(x):\n    return x\n", "naïve café", "Ωμέγα", "русский текст", " 日本語テキスト", "हिन्दी", " العربية ",
         "e\u0301a\u0323\u0302", "👩‍👩‍👧", "🇧🇷", "\t\tif", "http://a.b/c?d=e&f"]
RANGES = [(0x20, 0x7F), (0x00, 0x20), (0x80, 0x250), (0x300, 0x370), (0x370, 0x2000), (0x2000, 0x3000), (0x4E00, 0x9FFF),
          (0xAC00, 0xD7A4), (0xE000, 0x10000), (0x10000, 0x20000), (0x1F300, 0x1FB00), (0x20000, 0x110000)]
LISTS = [SPACES, EDGES, NUMBERS, COMPOSING, CONTRACTION]


def character(rng):
    """A function that draws characters of one kind."""
    kind = rng.randrange(len(RANGES) + len(LISTS))
    if kind < len(RANGES):
        return lambda: chr(rng.randrange(*RANGES[kind]))
    return lambda: chr(rng.choice(LISTS[kind - len(RANGES)]))


def string(rng, added=(), parts=30, run=120):
    out = []
    for _ in range(rng.randrange(1, parts)):
        what = rng.random()
        draw = character(rng)
        if what < 0.12 and added:
            out.append(rng.choice(added))
        elif what < 0.22:
            out.append(draw() * rng.randrange(1, run))
        elif what < 0.40:
            out.append(rng.choice(WORDS))
        else:
            out.extend(draw() for _ in range(rng.randrange(1, 12)))
    return "".join(out)


def strings(seed, count, added=(), parts=30, run=120):
    """At most `parts` words, runs and special tokens in each; runs of at most `run` characters."""
    rng = random.Random(seed)
    return [string(rng, list(added), parts, run) for _ in range(count)]


def broken_utf8(seed, count):
    """Bytes that are often not UTF-8."""
    rng = random.Random(seed)
    pieces = [b"\xff", b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80",
              b"abc", b" ", "é".encode(), "😀".encode(), b"\xc3", b"\xf0\x90", b"\xfe"]
    return [b"".join(rng.choice(pieces) for _ in range(rng.randrange(1, 12))) for _ in range(count)]
