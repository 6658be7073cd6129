"""Runs a command and says what it took of the processor and of memory."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

# A small process of its own starts the commands: a child's largest memory is counted from its fork on, and includes what
# a process that is full of packages holds.
RUNNER = """
import json, os, sys, time
for line in sys.stdin:
    command, out, err = json.loads(line)
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        try:
            os.execvp(command[0], command)
        finally:
            os._exit(127)
    _, status, usage = os.wait4(child, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - start, usage.ru_utime + usage.ru_stime,
                      usage.ru_maxrss]), flush=True)
"""
_runner = None


class Run:
    """One run: exit code, standard error, processor seconds, seconds waited, resident KiB at most."""

    def __init__(self, command):
        global _runner
        if _runner is None:
            _runner = subprocess.Popen([sys.executable, "-I", "-S", "-c", RUNNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with tempfile.TemporaryDirectory() as folder:
            err = Path(folder) / "err"
            _runner.stdin.write(json.dumps([[str(word) for word in command], f"{folder}/out", str(err)]) + "\n")
            _runner.stdin.flush()
            self.code, self.waited, self.seconds, self.rss = json.loads(_runner.stdout.readline())
            self.stderr = err.read_bytes().decode("utf-8", "strict")
