"""Atomic writes: whole or unchanged, private where the user wants it, never through a link."""

import errno
import json
import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from ibc_pyg.errors import RunError
from ibc_pyg.files import atomic_writer, open_in_place, write_atomically, write_json
from ibc_pyg.inference.embeddings import EmbeddingsWriter
from ibc_pyg.report import ReportData, write_report


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


def test_a_link_to_a_pipe_is_replaced(tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    write_atomically(link, b"content")
    assert not link.is_symlink()
    assert link.read_bytes() == b"content"


def test_a_file_is_opened_in_place_and_a_link_is_refused(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    with open_in_place(path) as file:
        file.write(b"one")
    with open_in_place(path) as file:
        file.write(b"two")
        file.flush()
        file.truncate(4)
    assert path.read_bytes() == b"onet"
    link.symlink_to(path)
    with pytest.raises(RunError, match="link is a link, and is not written through; remove it"):
        open_in_place(link)
    assert path.read_bytes() == b"onet"


def test_any_text_comes_back_from_json_without_characters_that_act(tmp_path):
    value = {"a\x1b[31m": ["\u202ereversed", "not UTF-8: \udce9", "größe\n\u2028", "\U000e0041"]}
    write_json(tmp_path / "file.json", value)
    text = (tmp_path / "file.json").read_text()
    assert text.replace("\n", "").isprintable()
    assert "größe" in text
    assert json.loads(text) == value


def full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def to_json(path):
    write_json(path, {"a": 1})


def to_embeddings(path):
    with EmbeddingsWriter(2, path) as writer:
        writer.add(np.ones((3, 2), np.float32), np.arange(3))
        writer.finish()


def to_report(path):
    write_report(ReportData("title"), path)


@pytest.mark.parametrize("write", [to_json, to_embeddings, to_report])
def test_a_full_disk_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch, write):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="file cannot be written: No space left on device"):
        write(path)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_embeddings_do_not_replace_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunError, match=r"is a device or a pipe; give the name of a \.npy file"):
        to_embeddings(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
