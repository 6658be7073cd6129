"""Every command where there is little: memory, handles, room in files, a full /tmp, a /dev without shm and pseudo-terminals. The same
result, or an error with its words and nothing left behind."""

import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from commands import commands, contents, least_memory, make_inputs, whole

SLOW = bool(os.environ.get("VIVA_SLOW"))
NAMES = [command.name for command in commands(Path())]
WRITERS = [command.name for command in commands(Path()) if command.output]
CODES = (0, 2, 3, 4, 127)  # 127: the system could not even start it


@pytest.fixture(scope="module")
def inputs(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(program, folder)
    return folder


def run(program, command, folder, limits=(), before=()):
    def limit():
        for what, most in limits:
            resource.setrlimit(what, (most, most))

    return subprocess.run([*before, *command.line(program, folder)], input=command.input.replace(b"{}", str(folder).encode()),
                          capture_output=True, timeout=120, preexec_fn=limit)


def find(name, inputs):
    return next(command for command in commands(inputs) if command.name == name)


def check(command, done, folder, new, what):
    what = (what, done)
    assert done.returncode in CODES, what
    assert done.returncode in (0, 127) or b"viva" in done.stderr, what
    if command.output is None:
        return
    left = os.listdir(folder)
    if done.returncode == 0:
        assert left == [command.output] and whole(command, new, new, contents(folder / command.output)), what
    else:
        assert left in ([], [command.output]), what
    for name in left:
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def made(program, command, folder):
    """The output as it should be."""
    folder.mkdir()
    done = run(program, command, folder)
    assert done.returncode == 0, done.stderr
    new = contents(folder / command.output) if command.output else None
    shutil.rmtree(folder)
    folder.mkdir()
    return new


@pytest.mark.parametrize("name", NAMES)
def test_few_handles_and_little_memory(program, inputs, tmp_path, name):
    command, folder = find(name, inputs), tmp_path / "out"
    new = made(program, command, folder)
    done = run(program, command, folder, [(resource.RLIMIT_NOFILE, 16)])
    assert done.returncode == 0, done.stderr
    check(command, done, folder, new, "16 handles")
    for handles in range(15, 3, -1) if SLOW else (7,):
        check(command, run(program, command, folder, [(resource.RLIMIT_NOFILE, handles)]), folder, new, f"{handles} handles")
    least = least_memory(program) << 10
    for mib in range(0, 400, 4) if SLOW else (8,):
        check(command, run(program, command, folder, [(resource.RLIMIT_AS, least + (mib << 20))]), folder, new, f"{mib} MiB more than to start")


@pytest.mark.parametrize("name", WRITERS)
def test_no_room_in_files(program, inputs, tmp_path, name):
    command, folder = find(name, inputs), tmp_path / "out"
    made(program, command, folder)
    for most in (0, 16, 50):  # nothing, a part of a lock, a lock and a part of an output
        done = run(program, command, folder, [(resource.RLIMIT_FSIZE, most)])
        assert done.returncode == 4 and b"viva" in done.stderr and b"no file may be so large" in done.stderr, (most, done)
        assert os.listdir(folder) == [], most


# $1: a folder that stays, seen as /mnt. /tmp and /mnt/full are full, /dev has neither shm nor pts.
POOR = """set -e
mount --bind "$1" /mnt; shift
mount -t tmpfs -o size=16k,nr_inodes=8 none /tmp; head -c 16384 /dev/zero >/tmp/full 2>/dev/null || true
mkdir -p /mnt/full; mount -t tmpfs -o size=8k none /mnt/full
mount -t tmpfs none /dev; mknod /dev/null c 1 3; mknod /dev/zero c 1 5
cd /mnt; exec "$@"
"""


@pytest.fixture(scope="module")
def poor(program, inputs):
    before = ["unshare", "-m", "sh", "-c", POOR, "sh", inputs]
    tried = subprocess.run([*before, "true"], capture_output=True)
    if tried.returncode != 0 or Path(program).resolve().is_relative_to("/tmp"):
        pytest.skip("there are no mounts of one's own here: " + tried.stderr.decode())
    yield before
    shutil.rmtree(inputs / "full", ignore_errors=True)


@pytest.mark.parametrize("name", NAMES)
def test_full_disks_and_an_empty_dev(program, inputs, tmp_path, poor, name):
    """No command needs /tmp, /dev/shm or a pseudo-terminal; what writes onto a full disk says so."""
    command = find(name, inputs)
    command.inputs = Path("/mnt")
    program = Path(program).resolve()
    done = run(program, command, "/mnt", before=poor)
    assert done.returncode == 0, done.stderr
    if command.output is None:
        return
    path = inputs / command.output
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    listed = "status=0; \"$@\" || status=$?; ls -A /mnt/full >&2; exit $status"
    done = run(program, command, "/mnt/full", before=[*poor, "sh", "-c", listed, "sh"])
    if done.returncode != 0:  # some outputs fit into 8 KiB
        said = done.stderr.decode().strip().splitlines()
        assert done.returncode == 4 and ("no space is left" in said[-1] or "are free there" in said[-1]), done
