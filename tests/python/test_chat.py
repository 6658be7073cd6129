"""viva chat in a pseudo-terminal, as a person uses it, and through pipes."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import gguf_folder
import pytest
import test_files
from commands import ignore_no_signal

TEMPLATE = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
SECONDS = 120  # no step takes longer, even on a busy machine


@pytest.fixture(scope="module")
def tiny_chat(tmp_path_factory):
    """The tiny model of random weights, with a chat template."""
    path = tmp_path_factory.mktemp("chat") / "tiny.gguf"
    path.write_bytes(test_files.read_gguf(test_files.TINY).set("tokenizer.chat_template", "string", TEMPLATE).pack())
    return path


class Terminal:
    """A program in a pseudo-terminal. What it writes is kept in self.seen."""

    def __init__(self, *command, **environment):
        self.seen = self.raw = ""
        try:
            self.pid, self.fd = pty.fork()
        except OSError as reason:
            pytest.skip(f"there is no pseudo-terminal here: {reason}")
        if self.pid == 0:
            for number in signal.SIGINT, signal.SIGQUIT, signal.SIGHUP:
                signal.signal(number, signal.SIG_DFL)  # whoever runs the tests may ignore them (nohup, a job of a shell)
            os.environ.pop("NO_COLOR", None)
            os.environ.update({"TERM": "xterm", **environment})
            os.execv(command[0], [str(c) for c in command])

    def read(self, seconds):
        """What comes within that time; "" at the end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return None
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return ""
        self.raw += data.decode(errors="replace")
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]", "", data.decode(errors="replace"))
        self.seen += text
        return text or None  # None: sequences alone

    def wait(self, pattern, since=0):
        """Reads until the pattern is there behind `since`; returns where it ends."""
        end = time.monotonic() + SECONDS
        while not (found := re.compile(pattern).search(self.seen, since)):
            assert time.monotonic() < end and self.read(1) != "", f"no {pattern!r} in {self.seen[since:]!r}"
        return found.end()

    def type(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        end = time.monotonic() + SECONDS
        while self.read(1) != "":
            assert time.monotonic() < end, self.seen
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


PROMPT = r"> "


def test_three_turns(program, tiny_chat):
    t = Terminal(program, "chat", "-m", tiny_chat, "--temp", "0", "-n", "4")
    at = t.wait(PROMPT, t.wait("/help lists the commands"))
    for question in ("hello", "and then", "why"):
        t.type(question + "\n")
        at = t.wait(PROMPT, t.wait(re.escape(question), at))
    t.type("/stats\n")
    at = t.wait(r"6 messages, \d+ of 128 tokens of context", at)
    t.type("/help\n")
    at = t.wait(PROMPT, t.wait("/regen", at))
    fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 30, 0, 0))  # the window changes its size
    os.kill(t.pid, signal.SIGWINCH)
    t.type("/clear\n")
    at = t.wait(PROMPT, t.wait(r"the conversation begins\s+anew", at))
    fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    t.type("/stats\n")
    at = t.wait(PROMPT, t.wait("0 messages, 0 of 128 tokens", at))
    assert "the last answer" not in t.seen[t.seen.rindex("0 messages"):]
    t.type("\x03")  # at the prompt
    at = t.wait(PROMPT, t.wait("Ctrl-C again", at))
    t.type("\x04")
    assert t.close() == 0


def test_interrupt_within_an_answer(program, smollm2_path):
    t = Terminal(program, "chat", "-m", smollm2_path, "--temp", "0", "--repeat-penalty", "1.05", "-n", "300")
    at = t.wait(PROMPT, t.wait("/help lists the commands"))
    t.type("Write a very long story about a lighthouse and a storm.\n")
    at = t.wait(r"storm\.\r\n(?!Write)(?:[^\n]*\r)?[^\r\n\[]{30}", at)  # no bar; the question may be echoed twice
    t.type("\x03")
    at = t.wait(PROMPT, at)  # the answer stops, the program does not
    t.type("/stats\n")
    at = t.wait(r"2 messages", at)
    at = t.wait(PROMPT, t.wait(r"stopped: (on_text|callback|cancelled|stop\w*)", at))
    t.type("What is the capital of France?\n")
    at = t.wait(PROMPT, t.wait(r"\w", t.wait(re.escape("France?"), at)))  # what it says depends on where it was stopped
    t.type("\x04")
    assert t.close() == 0


def stutter(process):
    """Lets a process run for 2 ms in 150, for two seconds: its tokens take longer than a Ctrl-C is given elsewhere."""
    for _ in range(13):
        os.kill(process, signal.SIGSTOP)
        time.sleep(0.148)
        os.kill(process, signal.SIGCONT)
        time.sleep(0.002)


def test_interrupt_of_a_slow_token(program, smollm2_path):
    t = Terminal(program, "chat", "-m", smollm2_path, "--temp", "0", "--repeat-penalty", "1.05", "-n", "1000", "-t", "1")
    at = t.wait(PROMPT, t.wait("/help lists the commands"))
    t.type("Write a very long story about a lighthouse and a storm.\n")
    at = t.wait(r"storm\.\r\n(?!Write)(?:[^\n]*\r)?[^\r\n\[]{30}", at)
    t.type("\x03")
    stutter(t.pid)
    at = t.wait(PROMPT, at)
    t.type("\x04")
    assert t.close() == 0
    with subprocess.Popen([program, "generate", "-m", smollm2_path, "-p", "Once upon a time", "-n", "2000", "-q", "--ignore-eos", "-t", "1"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=ignore_no_signal) as child:
        first = os.read(child.stdout.fileno(), 99)
        child.send_signal(signal.SIGINT)
        stutter(child.pid)
        text, said = child.communicate(timeout=SECONDS)
    assert child.returncode == 0 and first + text, said


def test_end_of_input_within_an_answer(program, smollm2_path):
    """Ctrl-D that is typed before the editor is there counts when it is."""
    t = Terminal(program, "chat", "-m", smollm2_path, "--temp", "0", "-n", "30")
    t.type("Count to ten.\n")
    t.wait(r"ten\.\r\n(?!Count)(?:[^\n]*\r)?[^\r\n\[]{10}", t.wait(PROMPT, t.wait("/help lists the commands")))
    t.type("\x04")
    assert t.close() == 0


def test_characters(program, tiny_chat, tmp_path):
    """Text in any language is typed and changed whole, whatever the locale."""
    saved = tmp_path / "talk.json"
    os.environ["LC_ALL"] = "C"
    try:
        t = Terminal(program, "chat", "-m", tiny_chat, "--temp", "0", "-n", "2")
    finally:
        del os.environ["LC_ALL"]
    at = t.wait(PROMPT, t.wait("/help lists the commands"))
    t.type("h\u00e9llo \U0001F600 \u65e5x\x7f\n")  # the last character is taken back
    at = t.wait(PROMPT + "$", t.wait("\r\n", at))
    t.type(f"/save {saved}\n")
    t.wait(PROMPT, t.wait("messages are in", at))
    t.type("\x04")
    assert t.close() == 0
    assert json.loads(saved.read_text())[0]["content"] == "h\u00e9llo \U0001F600 \u65e5"


def test_context_that_fills(program, tiny_chat):
    t = Terminal(program, "chat", "-m", tiny_chat, "--temp", "0", "-n", "2", "-c", "60")
    at = t.wait(PROMPT)
    for i in range(40):
        t.type("some words to say here\n")
        at = t.wait(r"(> $|oldest exchange)", at)
        if "oldest exchange" in t.seen:
            break
    t.type("what?\n")  # neither answer: it is asked again, and the question stays
    at = t.wait("oldest exchange", t.wait(re.escape("what?"), at))
    t.type("f\n")
    at = t.wait(PROMPT, at)
    t.type("\x04")
    assert t.close() == 0 and "the context 60" in t.seen


COLORS = re.compile(r"\x1b\[[0-9;]*m")


def test_colors(program, tiny_chat):
    """Of the prompt and the notes, on a terminal that knows them and where nobody says no; never in a pipe."""
    for environment, colors in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)):
        t = Terminal(program, "chat", "-m", tiny_chat, "--temp", "0", "-n", "2", **environment)
        t.wait(PROMPT, t.wait("/help lists the commands"))
        t.type("\x04")
        assert t.close() == 0
        assert bool(COLORS.search(t.raw)) == colors and ("\x1b[?2004h" in t.raw) == colors, t.raw
        assert not colors or "\x1b[1;36m>\x1b[0m " in t.raw and "\x1b[2mviva: /help" in t.raw, t.raw
    run = subprocess.run([program, "chat", "-m", tiny_chat, "-n", "2"], input="hello\n/stats\n", capture_output=True, text=True)
    assert "\x1b" not in run.stdout + run.stderr


def test_paste(program, tiny_chat, tmp_path):
    """Line ends of a pasted text are part of one message; keys that are sequences too still work."""
    saved = tmp_path / "talk.json"
    t = Terminal(program, "chat", "-m", tiny_chat, "--temp", "0", "-n", "2")
    at = t.wait(PROMPT, t.wait("/help lists the commands"))
    t.type("see: \x1b[200~one\r  tw\u00f6\tx\x07\r\x1b[201~.\n")
    at = t.wait(PROMPT, t.wait("x", at))
    t.type("bc\x1b[D\x1b[Da\n")  # to the left, twice
    at = t.wait(PROMPT, t.wait("abc", at))
    t.type(f"/save {saved}\n")
    t.wait("messages are in", at)
    t.type("\x04")
    assert t.close() == 0
    assert [m["content"] for m in json.loads(saved.read_text())[::2]] == ["see: one\n  tw\u00f6\tx.", "abc"]


def test_told_before_the_weights(program, tiny_chat, tmp_path):
    """What makes loading useless is told without it: no line about the weights comes first."""
    large = tmp_path / "large.gguf"
    large.write_bytes(test_files.read_gguf(test_files.TINY).set("tokenizer.chat_template", "string", "x" * (1 << 20)).pack())
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(test_files.read_gguf(test_files.TINY).set("tokenizer.chat_template", "string", "{% for %}").pack())
    for command, model, options, cause in (
            ("chat", tiny_chat, ["--stop-token", "two words"], "--stop-token"), ("generate", tiny_chat, ["--stop-token", "two words"], "--stop-token"),
            ("chat", test_files.TINY, [], "no chat template"), ("generate", test_files.TINY, ["--chat"], "no chat template"),
            ("chat", large, [], "262144"), ("chat", wrong, [], "line 1"), ("generate", wrong, ["--chat"], "line 1")):
        run = subprocess.run([program, command, "-m", model, "-p", "x", *options], capture_output=True, text=True, timeout=SECONDS)
        assert run.returncode in (1, 2, 3) and cause in run.stderr and "of weights" not in run.stderr, run.stderr


def piped(program, model, text, *options, most=4):
    return subprocess.run([program, "chat", "-m", model, "--temp", "0", "-n", str(most), "-q", *options], input=text, text=True,
                          capture_output=True, timeout=SECONDS)


def test_pipes_and_files(program, tiny_chat, tmp_path):
    saved = tmp_path / "talk.json"
    first = piped(program, tiny_chat, f'hello\n"""two\nlines"""\none \\\nmore\n/save {saved}\n')
    assert first.returncode == 0 and first.stdout
    messages = json.loads(saved.read_text())
    assert [m["content"] for m in messages[::2]] == ["hello", "two\nlines", "one \nmore"]
    saved.write_text(json.dumps([{"role": "user", "content": "h\u00e4 \U0001F600 \"\\/\n"}, {"role": "assistant", "content": "x"}]))
    again = piped(program, tiny_chat, f"gone\n/load {saved}\nnext\n/save {saved}\n")
    assert again.returncode == 0
    messages = json.loads(saved.read_text())
    assert len(messages) == 4 and messages[0]["content"] == "h\u00e4 \U0001F600 \"\\/\n" and messages[2]["content"] == "next"
    saved.write_text('[{"role": "user"}]')
    assert "expected a JSON array" in piped(program, tiny_chat, f"/load {saved}\n").stderr


def test_one_question(program, tiny_chat, smollm2_path):
    one = piped(program, smollm2_path, "", "-p", "What is the capital of France?", most=20)
    assert one.returncode == 0 and "Paris" in one.stdout
    assert one.stdout == piped(program, smollm2_path, "What is the capital of France?\n", most=20).stdout
    named = subprocess.run([program, "run", "-m", tiny_chat, "-p", "x", "--system", "y", "-q"], capture_output=True)
    assert named.returncode == 0
    bare = piped(program, test_files.TINY, "x\n")
    assert bare.returncode == 2 and "no chat template" in bare.stderr


def test_width_follows_the_terminal(program, tmp_path):
    """The map of viva compare, of 7 cells of letters."""
    (tmp_path / "text").write_text(" ".join(map(str, range(60))))
    lengths = []
    for columns in (50, 90):
        t = Terminal("/bin/sh", "-c", f"read ready; exec {program} compare {test_files.TINY} {test_files.TINY} --weights fp8 -f {tmp_path}/text "
                     "-c 32 --chunks 1 -q --layers")
        fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        t.type("\n")
        t.wait("weights' error")
        lengths.append(max(len(line) for line in t.seen.splitlines() if "++++" in line))
        t.close()
    assert lengths[0] < lengths[1] and lengths[0] <= 50 and lengths[1] <= 90, lengths


def test_lines_fit_a_narrow_terminal(program, tmp_path):
    """Nothing that these print is wider than the terminal; in a pipe lines are whole."""
    (tmp_path / "text").write_text(" ".join(map(str, range(60))))
    tiny = test_files.TINY
    for command in (f"inspect -m {tiny} --layers", f"compare {tiny} {tiny} --weights fp8 -f {tmp_path}/text -c 32 --chunks 1 --layers",
                    f"quantize {tiny} {tmp_path}/out --format fp8"):
        t = Terminal("/bin/sh", "-c", f"read ready; cd {tmp_path}; exec {program} {command.replace(str(tiny), 'tiny.gguf')}", TERM="dumb")
        (tmp_path / "tiny.gguf").write_bytes(tiny.read_bytes())
        fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
        t.type("\n")
        assert t.close() == 0, t.seen
        wide = [line for line in re.split(r"[\r\n]+", t.seen) if len(line) > 50]
        assert len(t.seen) > 300 and not wide, wide
    run = subprocess.run([program, "inspect", "-m", tiny, "--no-such-option"], capture_output=True, text=True)
    assert len(run.stderr.splitlines()) == 2


ENDED = "{{ bos_token }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
NAMED = {"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}}
HOMES = {  # the same template and tokens, wherever their writers keep them
    "tokenizer_config": {"tokenizer_config.json": {**NAMED, "chat_template": ENDED}},
    "list": {"tokenizer_config.json": {**NAMED, "chat_template": [{"name": "x", "template": "x"}, {"name": "default", "template": ENDED}]}},
    "object": {"tokenizer_config.json": {**NAMED, "chat_template": {"tool_use": "x", "default": ENDED}}},
    "jinja": {"tokenizer_config.json": {**NAMED, "chat_template": "{{ fail }}"}, "chat_template.jinja": ENDED},
    "processor": {"tokenizer_config.json": NAMED, "chat_template.json": {"chat_template": ENDED}},
    "map": {"tokenizer_config.json": {"chat_template": ENDED}, "special_tokens_map.json": NAMED},
    "map alone": {"special_tokens_map.json": NAMED, "chat_template.jinja": ENDED},
    "empty": {"tokenizer_config.json": {**NAMED, "chat_template": ""}, "chat_template.json": {"chat_template": ENDED}},
    "class": {"tokenizer_config.json": {"tokenizer_class": "LlamaTokenizerFast", "chat_template": ENDED.replace("eos_token", "'<|im_end|>'").replace(
        "bos_token", "'<|im_start|>' if bos_token == '<s>' else 'x'")}},
}


def test_homes_of_the_template(program, tmp_path):
    answers = {}
    for name, files in HOMES.items():
        folder = gguf_folder.write(test_files.TINY, tmp_path / name, "F32")
        for file, content in files.items():
            (folder / file).write_text(content if isinstance(content, str) else json.dumps(content))
        run = subprocess.run([program, "generate", "--chat", "-m", folder, "-p", "hello", "-n", "1", "-q", "--json"], capture_output=True, text=True)
        answers[name] = json.loads(run.stdout)["prompt_tokens"] if run.returncode == 0 else run.stderr
    assert all(a == answers["tokenizer_config"] for a in answers.values()) and answers["list"][0] == 1, answers


def test_cache_is_kept(program, tiny_chat):
    """The second answer computes the new part of its prompt alone, and says what a new conversation would say."""
    talk = subprocess.run([program, "chat", "-m", tiny_chat, "--temp", "0", "-n", "4"], input="hello\nagain\n/stats\n",
                          text=True, capture_output=True, timeout=SECONDS)
    new, held = (int(re.search(p, talk.stderr)[1]) for p in (r"(\d+) tokens of its prompt were new", r"(\d+) of 128 tokens"))
    assert new < held - 10, talk.stderr
