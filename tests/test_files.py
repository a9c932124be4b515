"""Atomic writes: whole or unchanged, private where the user wants it, never through a link."""

import os
import stat
import threading
from pathlib import Path

import pytest

from ibc_pyg.errors import RunError
from ibc_pyg.files import atomic_writer, write_atomically


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_are_those_of_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_link_is_replaced_and_not_followed(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_atomically(link, b"new")
    assert target.read_bytes() == b"old"
    assert not link.is_symlink()
    assert link.read_bytes() == b"new"


def test_an_error_leaves_the_old_file_and_no_draft(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    writer = atomic_writer(path)
    writer.__enter__().write(b"half")
    assert not writer.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(RunError, match=r"nowhere.file cannot be written"):
        write_atomically(tmp_path / "nowhere" / "file", b"")


def test_a_device_is_written_into_and_stays():
    null = Path(os.devnull)
    before = null.stat()
    write_atomically(null, b"content")
    assert null.stat().st_ino == before.st_ino
    assert stat.S_ISCHR(null.stat().st_mode)


def test_a_pipe_is_written_into(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"content")
    reader.join(10)
    assert read == [b"content"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
