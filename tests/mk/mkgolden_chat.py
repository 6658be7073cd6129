#!/usr/bin/env python3
"""Writes tests/golden/chat_templates.txt: templates, and what jinja2 makes of them in transformers' environment.

Records, one behind the other: a line "TEMPLATE-BYTES VARIABLES-BYTES TEXT-BYTES" (TEXT-BYTES -1: jinja2 refuses), then the three
texts (the template; a JSON object of messages, tools and further names; what is rendered), then a line end. Needs jinja2; the
templates and conversations are those of tests/python/test_chat_template.py.
"""
import json
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))
import chat_templates  # noqa: E402
import test_chat_template as tests  # noqa: E402

FEW = 5  # conversations for each family


def record(template: str, given: dict) -> bytes:
    try:
        text = tests.compiled(template).render(**chat_templates.TOKENS, **given).encode()
    except Exception:  # whatever Python raised
        text = None
    first, second = template.encode(), json.dumps(given, ensure_ascii=False).encode()
    head = f"{len(first)} {len(second)} {-1 if text is None else len(text)}\n".encode()
    return head + first + second + (text or b"") + b"\n"


def main() -> None:
    out = b"".join(record(s, {"messages": [], **tests.VARIABLES}) for s in tests.SNIPPETS)
    for template in chat_templates.BUILT.values():
        out += b"".join(record(template, given) for given in chat_templates.conversations(FEW))
    (HERE.parent / "golden/chat_templates.txt").write_bytes(out)


if __name__ == "__main__":
    os.environ.setdefault("VIVA_LIBRARY", "")
    main()
