"""Reading of picture files ahead of the network, each with the hash of the bytes that were read."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ibc_pyg.data.images.cpu_count import decoding_threads
from ibc_pyg.errors import reason
from ibc_pyg.retrieval.update.scan import Listed
from ibc_pyg.threads import map_ahead

MAX_BYTES = 2**30
"""Larger files are skipped: they are held in memory while they are decoded."""


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file that was read, or the reason why it was not.

    Attributes:
        listed: The file; size and time are those of the bytes read.
        sha256: Hash of its content; None if it could not be read.
        content: The bytes.
        reason: Why it could not be read.
    """

    listed: Listed
    sha256: bytes | None
    content: bytes = b""
    reason: str = ""


def read_files(root: Path, files: Iterable[Listed]) -> Iterator[FileRead]:
    """Read files in threads, in order and a few ahead.

    Args:
        root: Folder that their paths are relative to.
        files: The files.
    """
    threads = decoding_threads()
    with ThreadPoolExecutor(threads) as pool:
        yield from map_ahead(pool, partial(_read, root), files, 2 * threads)


def content_hash(path: Path) -> bytes | None:
    """Return the SHA-256 of a file; None if it cannot be read."""
    return _read(path.parent, Listed(path.name, None, None, None)).sha256


def _read(root: Path, listed: Listed) -> FileRead:
    path, label = listed.path, listed.label
    try:
        # A pipe is opened without waiting for a writer, and then left alone.
        number = os.open(root / path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(number, "rb") as file:
            status = os.fstat(number)
            if not stat.S_ISREG(status.st_mode):
                return FileRead(Listed(path, label, None, None), None, reason="not a regular file")
            known = Listed(path, label, status.st_size, status.st_mtime_ns)
            if status.st_size > MAX_BYTES:
                return FileRead(known, None, reason=f"larger than {MAX_BYTES:,} bytes")
            content = file.read()
    except (OSError, ValueError) as error:
        return FileRead(
            Listed(path, label, None, None), None, reason=f"unreadable: {reason(error)}"
        )
    return FileRead(known, hashlib.sha256(content).digest(), content)
