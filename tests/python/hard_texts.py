"""Texts that nobody writes, which cost a tokenizer more than English does: by name, a function of (rng, bytes, tokens, english)
that gives the text. tokens: the bytes of the vocabulary's tokens, in the order of their ids. Measured by
tools/measure_tokenizers.py, compared with the reference by test_tokenizer_hard.py."""

import base64

LETTERS = b"abcdefghijklmnopqrstuvwxyz"
SIGNS = b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def drawn(rng, size, alphabet):
    """Bytes of an alphabet, in any order."""
    return rng.randbytes(size).translate(bytes(alphabet[i * len(alphabet) // 256] for i in range(256)))


def coded(rng, size, ranges):
    """Characters of some ranges, in any order."""
    pool = [chr(rng.randrange(*rng.choice(ranges))) for _ in range(1 << 16)]
    return filled(rng, size, pool)


def filled(rng, size, pool):
    """Members of a pool, joined."""
    pool = [member if isinstance(member, bytes) else member.encode() for member in pool]
    mean = max(1, sum(map(len, pool)) // len(pool))
    data = b""
    while len(data) < size:
        data += b"".join(rng.choices(pool, k=size // mean + 64))
    return data[:size]


def with_bad(rng, data, share):
    """Some bytes are made such as no UTF-8 has."""
    out = bytearray(data)
    for at in range(rng.randrange(share), len(out), share):
        out[min(at + rng.randrange(share), len(out) - 1)] = 0xFF
    return bytes(out)


def words(rng, size, shortest, longest):
    letters, at, out = drawn(rng, size, LETTERS), 0, []
    while at < size:
        end = at + rng.randrange(shortest, longest + 1)
        out.append(letters[at:end])
        at = end
    return b" ".join(out)[:size]


def late(tokens):
    """Those that were merged last, without space around them."""
    return [t.strip() for t in tokens[len(tokens) * 85 // 100:] if t.strip()]


SCRIPTS = [(0x61, 0x7B), (0x430, 0x450), (0x3B1, 0x3C9), (0x5D0, 0x5EB), (0x627, 0x64A), (0x904, 0x93A), (0xE01, 0xE2E), (0x3041, 0x3096)]
APART = "\u0958\u0959\ufb2c\u2adc\U0001d160\u0344\ufb1d\U0001d15e\u0f73\u0f81\u1fa7"
MARKS = "aeiouAEcnsu" + "\u0300\u0301\u0323\u0327\u0328\u0331\u0345\u035c\u05b0\u064b\u093c\u3099\U0001d165" * 4
KINDS = {
    "runs of signs": lambda rng, n, t, e: filled(rng, n, [bytes([rng.choice(SIGNS)]) * rng.randrange(1, 30) for _ in range(20000)]),
    "one tab": lambda rng, n, t, e: b"\t" * n,
    "one dash": lambda rng, n, t, e: b"-" * n,
    "ab again and again": lambda rng, n, t, e: (b"ab" * n)[:n],
    "overlong forms": lambda rng, n, t, e: filled(rng, n, [b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x88\x80\x80\x80"]),
    "surrogates as bytes": lambda rng, n, t, e: filled(rng, n, [b"\xed" + bytes([0xA0 + i % 32, 0x80 + i % 64]) for i in range(997)]),
    "cut characters": lambda rng, n, t, e: filled(rng, n, [b"\xe4\xb8", b"\xf0\x9f\x98", b"\xc3", b"\xe0\xa0", b"\xf0\x90"]),
    "bytes that go on": lambda rng, n, t, e: drawn(rng, n, range(0x80, 0xC0)),
    "bytes above 127": lambda rng, n, t, e: drawn(rng, n, range(0x80, 0x100)),
    "any bytes": lambda rng, n, t, e: rng.randbytes(n),
    "letters, one byte in 18 bad": lambda rng, n, t, e: with_bad(rng, drawn(rng, n, LETTERS), 18),
    "base64, one byte in 25 bad": lambda rng, n, t, e: with_bad(rng, base64.b64encode(rng.randbytes(n))[:n], 25),
    "base64": lambda rng, n, t, e: base64.b64encode(rng.randbytes(n))[:n],
    "base64 in lines": lambda rng, n, t, e: base64.encodebytes(rng.randbytes(n))[:n],
    "printable": lambda rng, n, t, e: drawn(rng, n, range(32, 127)),
    "tokens joined": lambda rng, n, t, e: filled(rng, n, t),
    "late tokens joined": lambda rng, n, t, e: filled(rng, n, late(t)),
    "late letters joined": lambda rng, n, t, e: filled(rng, n, [x for x in late(t) if x.isalpha() or x >= b"\x80"]),
    "English without spaces": lambda rng, n, t, e: (b"".join(e.split()) * (n // max(1, len(e)) + 2))[:n],
    "words of 30 letters": lambda rng, n, t, e: words(rng, n, 30, 33),
    "words of letters": lambda rng, n, t, e: words(rng, n, 1, 11),
    "runs of spaces": lambda rng, n, t, e: filled(rng, n, [b" " * rng.randrange(1, 40) + bytes([rng.choice(LETTERS)]) for _ in range(20000)]),
    "white space": lambda rng, n, t, e: drawn(rng, n, b" \n\t\r"),
    "scripts in turn": lambda rng, n, t, e: coded(rng, n, SCRIPTS),
    "any characters": lambda rng, n, t, e: coded(rng, n, [(0, 0xD800), (0xE000, 0x10000)]),
    "what NFC takes apart": lambda rng, n, t, e: filled(rng, n, list(APART)),
    "marks in any order": lambda rng, n, t, e: filled(rng, n, list(MARKS)),
    "one stack of marks": lambda rng, n, t, e: ("a" + "\u0301" * (n // 2)).encode(),
}
