"""Atomic file writes, JSON files and file hashes."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ibc_pyg.errors import RunError, printable, reason


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object atomically; see `write_atomically`.

    Characters that a terminal would act on, and undecodable bytes of file names, are written as
    escapes of JSON.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if not text.isprintable():
        text = "".join(
            each if each == "\n" or each.isprintable() else json.dumps(each)[1:-1] for each in text
        )
    write_atomically(path, text.encode() + b"\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RunError: If the file is missing or damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # not UTF-8, no JSON
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} does not hold a JSON object")
    return value


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically; see `atomic_writer`."""
    with atomic_writer(path) as file:
        file.write(content)


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Yield a temporary file beside `path`, which is synced and renamed to `path` at the end.

    The file gets the permissions that the umask allows. A link at `path` is replaced, not followed.
    A device or a pipe is written into.

    Raises:
        RunError: If the disk is full or the folder cannot be written. After this or any other
            error `path` is unchanged.
    """
    draft: Path | None = None
    try:
        if is_stream(path):
            with path.open("wb") as stream:
                yield stream
            return
        draft, file = open_draft(path)
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise RunError(f"{printable(path)} cannot be written: {reason(error)}") from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def open_draft(path: Path) -> tuple[Path, IO[bytes]]:
    """Create a file with a random name beside `path`, to be renamed to it.

    Raises:
        OSError: If it cannot be created.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    return draft, os.fdopen(os.open(draft, flags, 0o666), "w+b")


def open_in_place(path: Path) -> IO[bytes]:
    """Open a file, created if it is missing, to append to it, to cut it or to sync it.

    Raises:
        RunError: If it is a link, which would lead the writes elsewhere.
        OSError: If it cannot be opened.
    """
    refuse_link(path)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o666), "ab+")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless it is there.

    Raises:
        RunError: If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{printable(path)} cannot be written: {reason(error)}") from error


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk.

    Raises:
        OSError: If it cannot be read.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_link(path: Path) -> None:
    """Check that a file or folder that is written into is not a link, which leads elsewhere.

    Raises:
        RunError: If it is one.
    """
    if path.is_symlink():
        raise RunError(f"{printable(path)} is a link, and is not written through; remove it")


def is_stream(path: Path) -> bool:
    """Return whether a path is a device or a pipe, which is written into and never replaced.

    A link is replaced, whatever it leads to, except in /dev and /proc.
    """
    # /dev/stdout may lead to a regular file, and must not be replaced either.
    try:
        in_dev = path.parent.resolve().parts[1:2] in (("dev",), ("proc",))
        mode = path.stat().st_mode if in_dev else path.lstat().st_mode
    except OSError:
        return False
    return in_dev or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file's content.

    Args:
        path: The file.
        algorithm: As `hashlib` names it.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
