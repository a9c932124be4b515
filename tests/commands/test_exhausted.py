"""Errors of the machine: one line, without a traceback."""

import contextlib
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ibc_pyg import cli
from ibc_pyg.commands import data as command
from ibc_pyg.errors import exhausted

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "there is not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "not enough"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "there is not enough memory"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "raise the limit: ulimit -n"),
        (ImportError("libx.so: cannot open shared object file: Too many open files"), "ulimit -n"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "the output cannot be written: No space",
        ),
        (OSError(errno.EACCES, "Permission denied", "a\nb"), r"a\nb: Permission denied"),
        (OSError(errno.EIO, "Input/output error", b"x"), "x: Input/output error"),
    ],
)
def test_one_line(monkeypatch, capsys, error, message):
    def fail(arguments, rest):
        raise error

    monkeypatch.setattr(command, "run", fail)
    assert cli.run(["data", "list"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0]


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ImportError("no module"), KeyError("x")])
def test_errors_of_the_program_are_not_hidden(error):
    assert exhausted(error) is None


def test_a_working_folder_that_is_gone(monkeypatch, tmp_path, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for words in (
        ["evaluate", ".", "--json", "x.json"],
        ["train", "e.yaml"],
        ["data", "verify", "csv", "--root", "."],
        ["search", ".", "x.png"],
    ):
        assert cli.run(words) == 2
        assert capsys.readouterr().err == (
            "error: the working folder no longer exists; change to another one\n"
        )


class Full(io.RawIOBase):
    """A disk that is full."""

    def writable(self):
        return True

    def write(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("size", [1, 10**6])  # of the buffer: written at once, or at the end
def test_output_on_a_full_disk(monkeypatch, capsys, size):
    stream = io.TextIOWrapper(io.BufferedWriter(Full(), size), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    assert cli.run(["data", "list"]) == 2
    error = capsys.readouterr().err
    assert error == "error: the output cannot be written: No space left on device\n"
    with contextlib.suppress(OSError):
        stream.close()


def test_output_in_ascii(monkeypatch, capsys):
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding="ascii"))

    def show(arguments, rest):
        sys.stdout.write("é ─ \udcff\n")
        return 0

    monkeypatch.setattr(command, "run", show)
    assert cli.run(["data", "list"]) == 0
    assert data.getvalue() == rb"\xe9 \u2500 \udcff" + b"\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ("ulimit -n 12; exec {python} run.py data list > {out}", 0),
        ("exec {python} run.py data list > /dev/full", 2),
        ("exec {python} run.py --help > /dev/full", 0),
        ("exec {python} run.py data list >&-", 0),
        ("PYTHONIOENCODING=ascii exec {python} run.py data list > {out}", 0),
    ],
)
def test_in_a_shell(tmp_path, shell, code):
    command = shell.format(python=sys.executable, out=tmp_path / "out")
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert len(done.stderr.splitlines()) == (code == 2), done.stderr
    assert done.returncode == code, done.stderr
