"""Pictures at the URLs that fsspec reads, such as s3:// and gs://."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any

from ibc_pyg.data.images.cpu_count import decoding_threads
from ibc_pyg.data.images.formats import SUFFIXES
from ibc_pyg.errors import DatasetError, RunError, printable, reason
from ibc_pyg.retrieval.update.feed import MAX_BYTES, FileRead
from ibc_pyg.retrieval.update.scan import Listed
from ibc_pyg.threads import map_ahead

TRIES = 3
"""Attempts to read a file of which a server reports an error; then the worker stops."""
_WAIT = 0.5
_REFUSED = ("reference", "dask", "dir", "generic")
"""File systems of fsspec that interpret what they read, or lead elsewhere."""


def open_file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and its path in it.

    Raises:
        DatasetError: If fsspec or the package of the protocol is missing, or it is not supported.
    """
    protocol = url.partition("://")[0]
    if "::" in url or protocol in _REFUSED:
        raise DatasetError(f"{printable(url)}: chained and indirect URLs are not read; give s3://…")
    try:
        import fsspec
    except ImportError as error:
        raise DatasetError(
            f"{printable(url)} needs fsspec, which is not installed (pip install fsspec)"
        ) from error
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # it names the package to install
        raise DatasetError(f"{printable(url)} cannot be opened: {reason(error)}") from error
    return system, str(path)


def list_url(url: str, suffixes: frozenset[str] = SUFFIXES) -> list[Listed]:
    """List the files under a URL, by path; the class is the name of the folder they are in.

    Raises:
        DatasetError: If it cannot be listed.
    """
    system, base = open_file_system(url)
    base = base.rstrip("/")
    try:
        found: dict[str, dict[str, Any]] = system.find(base, detail=True)
    except Exception as error:  # packages have errors of their own
        raise DatasetError(f"{printable(url)} cannot be listed: {reason(error)}") from error
    listed = []
    for name, facts in found.items():
        path = PurePosixPath(name.removeprefix(base).lstrip("/"))
        hidden = any(part.startswith(".") for part in path.parts)
        if not hidden and path.suffix.lower() in suffixes:
            folder = path.parent.name
            label = printable(folder) if folder else None
            listed.append(Listed(str(path), label, _size(facts), _time(facts)))
    return sorted(listed, key=lambda each: each.path)


def read_urls(root: str, files: Sequence[Listed]) -> Iterator[FileRead]:
    """Read files in threads, in order and a few ahead.

    Args:
        root: URL that their paths are relative to.
        files: The files.

    Raises:
        RunError: If a server cannot be reached; a missing file is returned with the reason.
    """
    system, base = open_file_system(root)
    threads = 2 * decoding_threads()  # they wait more than they compute
    with ThreadPoolExecutor(threads) as pool:
        read = partial(_read, system, base.rstrip("/"))
        yield from map_ahead(pool, read, files, 2 * threads)


def read_text(url: str, limit: int) -> bytes:
    """Read a whole file of at most `limit` bytes.

    Raises:
        DatasetError: If it cannot be read, or is larger.
    """
    system, path = open_file_system(url)
    try:
        content = bytes(system.cat_file(path, 0, limit + 1))
    except Exception as error:
        raise DatasetError(f"{printable(url)} cannot be read: {reason(error)}") from error
    if len(content) > limit:
        raise DatasetError(f"{printable(url)} is larger than {limit:,} bytes")
    return content


def open_url(url: str) -> IO[bytes]:
    """Open a file for reading.

    Raises:
        RunError: If it cannot be opened.
    """
    system, path = open_file_system(url)
    try:
        file: IO[bytes] = system.open(path, "rb")
    except Exception as error:
        raise RunError(f"{printable(url)} cannot be read: {reason(error)}") from error
    return file


def _read(system: Any, base: str, listed: Listed) -> FileRead:
    if listed.size is not None and listed.size > MAX_BYTES:
        return FileRead(listed, None, reason=f"larger than {MAX_BYTES:,} bytes")
    place = f"{base}/{listed.path}"
    for attempt in range(1, TRIES + 1):
        try:
            content = bytes(system.cat_file(place))
            break
        except FileNotFoundError:
            return FileRead(
                Listed(listed.path, listed.label, None, None), None, reason="unreadable: missing"
            )
        except Exception as error:
            if attempt == TRIES:
                raise RunError(f"{printable(place)} cannot be read: {reason(error)}") from error
            time.sleep(_WAIT * attempt)
    known = Listed(listed.path, listed.label, len(content), listed.mtime_ns)
    return FileRead(known, hashlib.sha256(content).digest(), content)


def _size(facts: dict[str, Any]) -> int | None:
    size = facts.get("size")
    return size if isinstance(size, int) else None


def _time(facts: dict[str, Any]) -> int | None:
    """Return when a file was changed, by the name that its file system has for it."""
    for name in ("LastModified", "mtime", "last_modified", "updated", "created"):
        value = facts.get(name)
        if isinstance(value, datetime):
            return int(value.timestamp()) * 10**9
        if isinstance(value, int | float):
            return int(value) * 10**9
    return None
