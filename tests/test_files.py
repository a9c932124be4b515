"""Bounded reads, and atomic writes: whole or unchanged, private if wanted, not through a link."""

import errno
import json
import os
import stat
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ibc_pyg.errors import RunError
from ibc_pyg.files import (
    atomic_writer,
    check_safetensors,
    file_digest,
    open_in_place,
    open_zip,
    read_bounded,
    read_json,
    write_atomically,
    write_json,
)
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


def other_kinds(folder):
    """Yield things that are not regular files, and whose reading would not end or fail."""
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "link").symlink_to(folder / "pipe")
    yield from (folder / name for name in ("pipe", "folder", "loop", "link", "missing"))
    yield Path("/dev/zero")


READERS = {
    "bounded": lambda path: read_bounded(path, 100),
    "json": read_json,
    "digest": file_digest,
    "safetensors": check_safetensors,
    "zip": lambda path: open_zip(path).__enter__(),
}


@pytest.mark.parametrize("reader", READERS)
def test_only_regular_files_are_read(tmp_path, reader):
    for path in other_kinds(tmp_path):
        with pytest.raises((OSError, RunError)) as caught:
            READERS[reader](path)
        assert path.name in str(caught.value)


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_bounded(tmp_path / "link", 7) == b"content"


def test_a_larger_file_is_not_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345678")
    assert read_bounded(path, 8) == b"12345678"
    with pytest.raises(OSError, match="larger than the allowed 7 bytes"):
        read_bounded(path, 7)
    os.truncate(path, 2**40)  # sparse: a terabyte that takes no space
    with pytest.raises(RunError, match="larger than the allowed"):
        read_json(path)


def test_a_name_with_a_null_character_is_an_os_error():
    with pytest.raises(OSError, match="not the name of a file"):
        read_bounded(Path("a\0b"), 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "4300 digits"),
        ("[1, 2]", "does not hold a JSON object"),
        ('{"a": 1', "delimiter"),
    ],
)
def test_json_that_is_not_read(tmp_path, text, message):
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(RunError, match=message) as caught:
        read_json(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_header_of_safetensors_is_bounded(tmp_path):
    path = tmp_path / "model.safetensors"
    for length in (0, 2**24 + 1, 2**32, 2**64 - 1):
        path.write_bytes(length.to_bytes(8, "little") + b"{}")
        os.truncate(path, 2**34)
        with pytest.raises(OSError, match="a header of"):
            check_safetensors(path)


def test_a_zip_that_grows_too_much_is_refused(tmp_path):
    path = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("zeros", "w") as member,
    ):
        for _ in range(80):
            member.write(bytes(2**20))
    with pytest.raises(zipfile.BadZipFile, match="more than 20 times its size"), open_zip(path):
        pass


def test_the_list_of_a_zip_is_bounded(tmp_path):
    path = tmp_path / "list.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    end = path.read_bytes()[-22:]
    length = 65 * 2**20
    with path.open("r+b") as file:
        file.truncate(length)
        file.seek(length)
        file.write(end[:12] + length.to_bytes(4, "little") + bytes(4) + end[20:])
    with pytest.raises(zipfile.BadZipFile, match="list of members is too long"), open_zip(path):
        pass
