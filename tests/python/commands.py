"""Every command of the program once, as small as it can be: what failures, kills and poor places are tried on."""

import json
import resource
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

TINY = Path(__file__).resolve().parent.parent / "golden" / "tiny.gguf"
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


@dataclass
class Command:
    name: str
    words: list  # {} stands for the folder of outputs, [] for that of inputs
    output: str | None = None  # a file or folder that it writes
    input: bytes = b""
    varies: bool = False  # what it prints or writes has times, or this machine's numbers, in it
    also: tuple = ()  # other outputs that are whole
    inputs: Path = field(default=Path())

    def line(self, program, folder):
        return [str(program), *(str(word).replace("{}", str(folder)).replace("[]", str(self.inputs)) for word in self.words)]


def make_inputs(program, folder):
    """What the commands read, in folder."""
    subprocess.run([program, "quantize", TINY, folder / "chat", "--format", "bf16", "-q"], check=True)
    config = json.loads((folder / "chat" / "tokenizer_config.json").read_text())
    (folder / "chat" / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": TEMPLATE}))
    (folder / "text").write_text(" ".join(str(i) for i in range(30)))
    subprocess.run([program, "compress", TINY, "-o", folder / "packed.viva", "-q"], check=True)


def run_under(kib, line):
    """The finished run of a line, with so much address space."""
    return subprocess.run(line, capture_output=True, text=True, timeout=300,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (kib << 10, kib << 10)))


def least_memory(program):
    """KiB of address space with which the program starts: with less the system ends it before main, in its own ways."""
    return next(kib for kib in range(2000, 400000, 400) if run_under(kib, [program, "--version"]).returncode == 0)


def commands(inputs):
    table = [
        Command("generate", ["generate", "-m", TINY, "-p", "a", "-n", "2", "-q"]),
        Command("chat", ["chat", "-m", "[]/chat", "-n", "2", "-q", "--temp", "0"], "saved.json", b"a b\n/save {}/saved.json\n",
                also=(b"[]\n",)),  # the answer failed, the rest goes on
        Command("tokenize", ["tokenize", "-m", TINY, "-p", "ab"]),
        Command("detokenize", ["detokenize", "-m", TINY, "5", "6"]),
        Command("inspect", ["inspect", TINY, "--layers"], varies=True),
        Command("inspect-json", ["inspect", TINY, "--json"], varies=True),
        Command("perplexity", ["perplexity", "-m", TINY, "-f", "[]/text", "-c", "32", "-q"], varies=True),
        Command("bench", ["bench", "-m", TINY, "-r", "1", "-p", "8", "-n", "2", "-q"], varies=True),
        Command("quantize", ["quantize", TINY, "{}/out", "--format", "nvfp4", "--overwrite", "-q"], "out"),
        Command("compare", ["compare", TINY, TINY, "--weights", "fp8", "-f", "[]/text", "-c", "32", "--chunks", "1", "-q", "--html", "{}/page.html"],
                "page.html", varies=True),
        Command("compress", ["compress", TINY, "-o", "{}/out.viva", "-q"], "out.viva"),
        Command("decompress", ["decompress", "[]/packed.viva", "-o", "{}/out.npz", "-q"], "out.npz"),
        Command("decompress-raw", ["decompress", "[]/packed.viva", "-o", "{}/out.f32", "-q"], "out.f32"),
        Command("analyze", ["analyze", TINY, "--tensor", "blk.0.attn_k.weight", "--html", "{}/page.html"], "page.html", varies=True),
        Command("debug-decode", ["debug-decode", "-m", TINY, "-q", "--num-layers", "1", "--dump", "logits={}/out.npy"], "out.npy", varies=True),
        Command("memory", ["memory"], varies=True),
        Command("devices", ["devices"], varies=True),
        Command("help", ["help", "generate"]),
    ]
    for command in table:
        command.inputs = inputs
    return table


def ignore_no_signal():
    """In a child before it runs: what nohup, or & in a script, has ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def contents(path):
    """Of a file or a folder of files; None: nothing is there."""
    if path.is_dir():
        return {file.name: file.read_bytes() for file in path.iterdir()}
    return path.read_bytes() if path.exists() else None


def whole(command, old, new, found):
    """Is what is found the old output or the new one?"""
    if found in (old, new, *command.also):
        return True
    return command.varies and found is not None and len(found) > 1000 and found[-8:] == new[-8:]
