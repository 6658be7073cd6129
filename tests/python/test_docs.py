"""The programs that the documents show compile without a warning and do what the documents say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import gguf_folder
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def programs(name):
    """The C programs of a Markdown file: its ```c blocks with a main."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [block for block in re.findall(r"^```c\n(.*?)^```", text, re.M | re.S) if "int main(" in block]


def build(source, folder):
    library = Path(os.environ["VIVA_LIBRARY"])
    (folder / "example.c").write_text(source, encoding="utf-8")
    subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/include", "example.c", "-o", "example",
                    str(library.with_name("libviva.a")), "-pthread", "-lm"], cwd=folder, check=True)
    return folder / "example"


def run(program, *arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)


EXAMPLES = [(f"{name} {i}", source) for name in ("README.md", "docs/model-handle.md")
            for i, source in enumerate(programs(name), 1)]


def test_documents_have_examples():
    assert len(programs("README.md")) == 1
    assert len(programs("docs/model-handle.md")) >= 1
    assert len(programs("README.md")[0].splitlines()) <= 20


@pytest.mark.parametrize("source", [e[1] for e in EXAMPLES], ids=[e[0] for e in EXAMPLES])
def test_example_generates_text(source, smollm2_path, program, tmp_path):
    example = build(source, tmp_path)
    prompt = "The capital of France is"
    shown = run(example, smollm2_path, prompt)
    assert shown.returncode == 0, shown.stderr
    assert "Paris" in shown.stdout
    same = run(program, "generate", "-m", smollm2_path, "-p", prompt)
    assert same.stdout.strip()[:40] in shown.stdout
    missing = run(example, tmp_path / "no-model.gguf", prompt)
    assert missing.stderr != ""


def test_readme_commands(smollm2_path, program, tmp_path):
    """What README says after the program, with the prefix and the model's path replaced."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in re.search(r"^    make install PREFIX=.*\n(?:    .*\n)+", text, re.M)[0].splitlines()]
    assert lines[0] == "make install PREFIX=$HOME/.local" and lines[-1].startswith("./example model.gguf ")
    prefix = tmp_path / "prefix"
    (tmp_path / "example.c").write_text(programs("README.md")[0], encoding="utf-8")
    (tmp_path / "model.gguf").symlink_to(smollm2_path)
    subprocess.run(["cmake", "--install", Path(program).parent, "--prefix", prefix], check=True,
                   stdout=subprocess.DEVNULL)
    script = "set -eu\n" + "\n".join(lines[1:]).replace("$HOME/.local", str(prefix))
    shown = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stderr
    assert "Paris" in shown.stdout


def test_api_page_is_complete():
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    symbols = (ROOT / "tests/install/symbols.txt").read_text(encoding="utf-8").split()
    assert len(symbols) > 100
    assert [s for s in symbols if f"`{s}`" not in page] == []


def test_inference_guide(smollm2_path, tmp_path):
    """The sections of the guide, joined, make a model of mixed formats from a folder and continue a text."""
    text = (ROOT / "docs/guide-inference.md").read_text(encoding="utf-8")
    source = "\n".join(re.findall(r"^```c\n(.*?)^```", text, re.M | re.S))
    for call in ("viva_prepack_dense", "viva_prepack_fp8_weight_blocked", "viva_model_from_parts", "viva_linear("):
        assert call in source
    gguf_folder.write(smollm2_path, tmp_path / "folder", "BF16")
    shown = run(build(source, tmp_path), tmp_path / "folder", "The capital of France is")
    assert shown.returncode == 0, shown.stderr
    assert "fp8-b16" in shown.stdout and "10.000 bits" in shown.stdout
    assert "Paris" in shown.stdout
    missing = run(tmp_path / "example", tmp_path / "no-folder", "x")
    assert missing.returncode == 1 and "no-folder" in missing.stderr


def words_of_llama_cpp():
    """The rows of apps/foreign.c: words, and the answer to them."""
    text = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
    join = lambda literals: re.sub(r'"\s*"', "", literals).strip().strip('"').replace("\\\\", "\\")
    rows = re.findall(r"\{" + text + r",\s*" + text + r"\}", (ROOT / "apps/foreign.c").read_text(encoding="utf-8"))
    return [(join(words).split(), join(hint)) for words, hint in rows]


def test_words_of_llama_cpp_are_documented():
    """docs/llama-cpp.md has every word that apps/foreign.c answers, with the same answer."""
    page = (ROOT / "docs/llama-cpp.md").read_text(encoding="utf-8").replace("\\|", "|")
    rows = words_of_llama_cpp()
    assert len(rows) > 40
    for words, hint in rows:
        assert "| " + " ".join(f"`{w}`" for w in words) + f" | {hint} |" in page, words


def test_words_of_llama_cpp_are_answered(program):
    """Each word, also with a value in it, and those that people type by mistake."""
    rows = [(w, hint) for words, hint in words_of_llama_cpp() for w in words if w.startswith("-")]
    hints = dict(rows)
    for typed, known in (("-ngl99", "-ngl"), ("--ngl", "-ngl"), ("--n-gpu-layers=99", "-ngl"), ("-mmp", "--mmap"), ("--keep", "--keep"),
                         ("-lv", "--log-*"), ("--log-disable", "--log-*"), ("--reasoning-budget", "--reasoning-*"), ("--in-prefix", "--jinja"),
                         ("--spec-draft-n-max", "-md"), ("--dry-base", "--samplers")):
        rows.append((typed, hints[known]))
    for word, hint in rows:
        run = subprocess.run([program, "generate", word.replace("*", "x")], capture_output=True, text=True)
        assert run.returncode == 1 and run.stderr.startswith(f"viva generate: unknown option '{word.replace('*', 'x')}': {hint}"), run.stderr


@pytest.mark.parametrize("retries", ["0", "1"])
def test_fetch_models_says_why_there_is_no_connection(tmp_path, retries):
    """Also for people whose pip never tries again, which makes it say that there is no such version."""
    environment = {**os.environ, "PIP_RETRIES": retries, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull,
                   "PIP_NO_INDEX": "0", "VIVA_MODELS": str(tmp_path)}
    environment = {k: v for k, v in environment.items() if "proxy" not in k.lower() and k != "PIP_EXTRA_INDEX_URL"}
    run = subprocess.run([sys.executable, ROOT / "tools/fetch_models", "smollm2"], capture_output=True, text=True, env=environment, timeout=60)
    if "has no pip" in run.stderr:
        pytest.skip("this Python has no pip")
    assert run.returncode == 1 and "Connection refused" in run.stderr and "0x" not in run.stderr, run.stderr
