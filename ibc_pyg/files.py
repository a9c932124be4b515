"""Bounded reads of files from others, atomic writes, JSON files and file hashes."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import secrets
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ibc_pyg.errors import RunError, printable, reason, shown

MAX_JSON = 64 * 2**20
"""Most bytes of a JSON file; the split of a million images has about this size."""
MAX_HEADER = 16 * 2**20
"""Most bytes of the header of a safetensors file: the names of some hundred thousand tensors."""
MAX_DIRECTORY = 64 * 2**20
"""Most bytes of the list of members of a zip archive; that of 120,000 images has 12 MB."""
EXPANSION = 20
"""Most times that an archive grows when it is unpacked, beyond `FREE_EXPANSION`. Photographs do not
shrink in an archive, and embeddings by less than half."""
FREE_EXPANSION = 64 * 2**20


def open_input(path: Path) -> io.BufferedReader:
    """Open a regular file, or a link to one, for reading.

    Raises:
        OSError: If it is missing, cannot be read, or is a folder, a device, a pipe or a socket. A
            pipe without a writer does not block.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a null character
        raise OSError(errno.EINVAL, "not the name of a file", str(path)) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
    return io.BufferedReader(io.FileIO(descriptor, "rb"))


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a whole regular file.

    Args:
        path: The file.
        limit: Most bytes it may have.

    Raises:
        OSError: As `open_input`, or if the file is larger.
    """
    with open_input(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, limit) + 1)
        if len(data) > size:  # a file that grows, or does not know its size
            data += file.read(limit + 1 - len(data))
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is larger than the allowed {limit:,} bytes", str(path))
    return data


def check_safetensors(path: Path) -> None:
    """Check that a file can be a safetensors file, before a library reads it.

    Raises:
        OSError: As `open_input`, or if the header is longer than the file or than `MAX_HEADER`.
    """
    with open_input(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER, size - 8):
        raise OSError(errno.EINVAL, f"it has a header of {length:,} bytes", str(path))


def most_unpacked(size: int) -> int:
    """Return the most bytes that an archive of `size` bytes may hold when unpacked."""
    return EXPANSION * size + FREE_EXPANSION


class _BoundedReads(io.BufferedReader):
    """File of which no single read is long: a zip archive gives the length of its own list."""

    def read(self, size: int | None = -1, /) -> bytes:
        rest = max(os.fstat(self.fileno()).st_size - self.tell(), 0)
        wanted = rest if size is None or size < 0 else min(size, rest)
        if wanted > MAX_DIRECTORY:
            raise zipfile.BadZipFile("its list of members is too long")
        return super().read(wanted)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive for reading.

    Raises:
        OSError: As `open_input`.
        zipfile.BadZipFile: If it is damaged, its list of members is longer than `MAX_DIRECTORY`, or
            they are larger in total than `most_unpacked`.
    """
    with _BoundedReads(open_input(path).detach()) as file, zipfile.ZipFile(file) as archive:
        total = sum(info.file_size for info in archive.infolist())
        if total > most_unpacked(os.fstat(file.fileno()).st_size):
            raise zipfile.BadZipFile(
                f"its members have {total:,} bytes unpacked, more than {EXPANSION} times its size"
            )
        yield archive


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
    """Read a JSON object of at most `MAX_JSON` bytes; see `parse_json`.

    Raises:
        RunError: If the file is missing, too large or damaged.
    """
    try:
        value = parse_json(read_bounded(path, MAX_JSON))
    except (OSError, ValueError) as error:  # not UTF-8, no JSON
        raise RunError(f"{path} cannot be read: {reason(error)}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} does not hold a JSON object")
    return value


def parse_json(text: str | bytes) -> Any:
    """Parse JSON in which no key of an object stands twice.

    NaN and infinities, which Python writes, are accepted.

    Raises:
        ValueError: If it is not UTF-8 or not JSON, a key stands twice, a number has thousands of
            digits, or values are nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("values are nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = iter(found)
        # Up to the first repetition the keys stand in the same order.
        twice = next(key for key, _ in pairs if key != next(keys, None))
        raise ValueError(f"the key {shown(twice)} stands twice")
    return found


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
    """Return the hexadecimal digest of a regular file's content.

    Args:
        path: The file.
        algorithm: As `hashlib` names it.

    Raises:
        OSError: If it cannot be read.
    """
    with open_input(path) as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
