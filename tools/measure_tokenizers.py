#!/usr/bin/env python3
"""Speeds of tokenizers, beside gigatoken and Hugging Face tokenizers in the same run where they are installed.

    VIVA_LIBRARY=build/release/src/libviva.so python3 tools/measure_tokenizers.py --text wikitext2-test.txt NAME.json ...

Each line is one thread's, MB/s of text. `first`: the first call after loading. `again`: the best of the calls after it.
Languages are what translations of programs on this machine (/usr/share/locale) and Python's own library hold; what is not
there is left out. Worst cases (those of tests/python/hard_texts.py among them) are 10 MB, --megabytes says other; each is the
first call of a tokenizer; `times English`: a byte's time in times of one of --text at the first call. --json writes what was
measured.
"""

import argparse
import ctypes as c
import gettext
import glob
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "python"))
import hard_texts  # noqa: E402

ROUNDS = 7


PLAIN = {
    "one letter": lambda rng, n, t, e: b"a" * n,
    "one emoji": lambda rng, n, t, e: "\U0001f600".encode() * (n // 4),
    "Latin-1 noise": lambda rng, n, t, e: rng.randbytes(n * 2 // 3).decode("latin-1").encode(),
    "combining marks": lambda rng, n, t, e: hard_texts.coded(rng, n, [(0x300, 0x370)]),
    "no spaces": lambda rng, n, t, e: hard_texts.drawn(rng, n, b"etaoinshrdlu"),
    "only spaces": lambda rng, n, t, e: b" " * n,
}


def worst_cases(size, tokens, english):
    for name, make in {**PLAIN, **hard_texts.KINDS}.items():
        yield name, make(random.Random(1), size, tokens, english)


def translations(language):
    """All translated messages of this machine's programs, joined."""
    found = []
    for path in sorted(glob.glob(f"/usr/share/locale/{language}/LC_MESSAGES/*.mo")):
        try:
            with open(path, "rb") as file:
                catalogue = gettext.GNUTranslations(file)._catalog
        except (OSError, ValueError, UnicodeDecodeError):
            continue
        found += [text for key, text in catalogue.items() if key and isinstance(text, str)]
    return "\n".join(found)


def languages():
    texts = {"Chinese": translations("zh_CN"), "Hindi": translations("hi"), "Arabic": translations("ar")}
    source = sorted(Path(os.__file__).parent.glob("*.py"))
    texts["source code"] = "".join(p.read_text(errors="replace") for p in source)
    return {name: (text.encode() * (1 + 2_000_000 // len(text.encode())))[:2_000_000].decode(errors="ignore")
            for name, text in texts.items() if len(text) > 50_000}


class Viva:
    """The C API with arrays made beforehand, so that the call alone is timed."""

    def __init__(self, path):
        import viva_ctypes
        self.v = viva_ctypes
        self.handle = viva_ctypes.Tokenizer(path)
        self.room = 0

    def reserve(self, ids):
        """Room whose pages are there."""
        if ids > self.room:
            self.room = ids
            self.ids = (c.c_int32 * ids)()
            c.memset(self.ids, 1, c.sizeof(self.ids))

    def tokens(self):
        """The bytes of all tokens that are text by themselves."""
        text, size, out = c.create_string_buffer(4096), c.c_size_t(), []
        for token in range(self.v.lib.viva_tokenizer_vocab_size(self.handle.handle)):
            self.v.call("viva_tokenizer_decode", self.handle.handle, (c.c_int32 * 1)(token), c.c_size_t(1), None, text,
                        c.c_size_t(4096), c.byref(size))
            out.append(text.raw[:size.value])
        return [token for token in out if token and "\ufffd".encode() not in token]

    def encode(self, data):
        self.reserve(len(data) + 8)
        count = c.c_size_t()
        self.v.call("viva_tokenizer_encode", self.handle.handle, data, c.c_size_t(len(data)), None, self.ids,
                    c.c_size_t(self.room), c.byref(count))
        self.count = count.value

    def decode(self, capacity):
        if not hasattr(self, "text"):
            self.text = c.create_string_buffer(capacity + 64)
            c.memset(self.text, 1, capacity)
        size = c.c_size_t()
        self.v.call("viva_tokenizer_decode", self.handle.handle, self.ids, c.c_size_t(self.count), None, self.text,
                    c.c_size_t(capacity + 64), c.byref(size))

    def batch(self, texts, threads):
        class Text(c.Structure):
            _fields_ = [("text", c.c_char_p), ("bytes", c.c_size_t), ("end", c.c_size_t)]

        array = (Text * len(texts))(*[Text(t, len(t), 0) for t in texts])
        room = sum(map(len, texts)) + 8
        ids = (c.c_int32 * room)()

        def run():
            self.v.call("viva_tokenizer_encode_batch", self.handle.handle, array, c.c_size_t(len(texts)), None,
                        c.c_int32(threads), ids, c.c_size_t(room))
        return run


def seconds(run, clock=time.thread_time):
    """This thread's processor time: waiting for others does not count."""
    begin = clock()
    run()
    return clock() - begin


class Row:
    def __init__(self, name):
        self.name, self.values = name, {}

    def put(self, what, value):
        self.values[what] = value
        print(f"{self.name:24} {what:34} {value:10.2f}", flush=True)


def speeds(row, path, data, peer):
    """First call and repeated ones, viva's and the peer's in turn; the median of some loads counts for the first."""
    firsts, agains = {"viva": [], "gigatoken": []}, {"viva": [], "gigatoken": []}
    for _ in range(5):
        ours = Viva(path)
        ours.reserve(len(data) + 8)
        runs = {"viva": lambda: ours.encode(data)}
        if peer:
            theirs = peer.Tokenizer(str(path))
            runs["gigatoken"] = lambda: theirs.encode(data)
        for name, run in runs.items():
            firsts[name].append(seconds(run))
        for _ in range(ROUNDS):
            for name, run in runs.items():
                agains[name].append(seconds(run))
    for name in runs:
        row.put(f"first, {name}", len(data) / sorted(firsts[name])[len(firsts[name]) // 2] / 1e6)
        row.put(f"again, {name}", len(data) / min(agains[name]) / 1e6)
    if peer:
        for what in ("first", "again"):
            row.put(f"{what}, ratio", row.values[f"{what}, viva"] / row.values[f"{what}, gigatoken"])
    ours.encode(data)
    row.put("decode", len(data) / min(seconds(lambda: ours.decode(2 * len(data))) for _ in range(ROUNDS)) / 1e6)
    lines = data.splitlines(keepends=True) * 4
    one, two = ours.batch(lines, 1), ours.batch(lines, 2)
    one(), two()
    pairs = [tuple(seconds(run, time.perf_counter) for run in (one, two)) for _ in range(ROUNDS)]
    row.put("2 threads, ratio", min(p[0] for p in pairs) / min(p[1] for p in pairs))


def other_texts(row, path, peer):
    for name, text in languages().items():
        data = text.encode()
        ours = Viva(path)
        ours.encode(data)
        row.put(name, len(data) / min(seconds(lambda: ours.encode(data)) for _ in range(3)) / 1e6)
        if peer:
            theirs = peer.Tokenizer(str(path))
            theirs.encode(data)
            value = len(data) / min(seconds(lambda: theirs.encode(data)) for _ in range(3)) / 1e6
            row.put(f"{name}, ratio", row.values[name] / value)


def worst_texts(row, path, english, size):
    first = row.values["first, viva"]
    for name, data in worst_cases(size, Viva(path).tokens(), english):
        ours = Viva(path)
        ours.reserve(2 * len(data) + 8)  # normal forms may make more of a text
        value = len(data) / seconds(lambda: ours.encode(data)) / 1e6
        row.put(f"{name}, MB/s", value)
        row.put(f"{name}, times English", first / value)


LOAD = """
import sys, time, os
path, which = sys.argv[1:3]
def status(key):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(key)) * 1024
if which == "viva":
    sys.path.insert(0, sys.argv[3])
    import viva_ctypes
    load = lambda: viva_ctypes.Tokenizer(path)
else:
    import tokenizers
    load = lambda: tokenizers.Tokenizer.from_file(path)
open("/proc/self/clear_refs", "w").write("5")
begin = time.perf_counter()
kept = load()
took = time.perf_counter() - begin
print(took, status("VmHWM") - status("VmRSS"))
"""


def loading(row, path, has_reference):
    best = {}
    for which in ["viva"] + (["tokenizers"] if has_reference else []):
        outs = [subprocess.run([sys.executable, "-c", LOAD, path, which, sys.path[0]], capture_output=True, text=True,
                               check=True).stdout.split() for _ in range(5)]
        best[which] = min(float(o[0]) for o in outs)
        row.put(f"load, {which}, s", best[which])
        if which == "viva":
            row.put("load, peak beyond result / file", max(float(o[1]) for o in outs) / os.path.getsize(path))
    if has_reference:
        row.put("load, ratio", best["viva"] / best["tokenizers"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="needed for all but --only load")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=["load", "speed", "texts", "worst"], nargs="*")
    parser.add_argument("--megabytes", type=float, default=10, help="of a worst case")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    only = args.only or ["load", "speed", "texts", "worst"]
    try:
        import gigatoken
    except ImportError:
        gigatoken = None
    try:
        import tokenizers  # noqa: F401
        has_reference = True
    except ImportError:
        has_reference = False
    if not args.text and only != ["load"]:
        parser.error("--text is needed")
    data = args.text.read_bytes() if args.text else b""
    rows = []
    for path in args.files:
        row = Row(Path(path).name.split(".")[0])
        rows.append(row)
        if "load" in only:
            loading(row, path, has_reference)
        if set(only) & {"speed", "texts", "worst"}:
            speeds(row, path, data, gigatoken)
        if "texts" in only:
            other_texts(row, path, gigatoken)
        if "worst" in only:
            worst_texts(row, path, data, int(args.megabytes * 1e6))
    if args.json:
        args.json.write_text(json.dumps({row.name: row.values for row in rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
