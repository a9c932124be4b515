"""Extraction of archives from untrusted sources."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from ibc_pyg.data.annotations.text import path_problem
from ibc_pyg.errors import DatasetError, printable, reason, shown
from ibc_pyg.files import most_unpacked, open_input, open_zip

Progress = Callable[[str, int, int | None], None]
BLOCK = 2**20
MAX_MEMBERS = 300_000
MAX_TAR_HEADER = 2**20
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class Member:
    """A file or folder in an archive.

    Attributes:
        name: Path in the archive.
        size: Bytes when unpacked.
        kind: `file`, `folder`, `link` or `special file`.
        extract: Writes it below a folder.
    """

    name: str
    size: int
    kind: str
    extract: Callable[[Path], object]


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16
        kind = "folder" if info.filename.endswith("/") else "file"
        if info.create_system == 3 and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "link" if stat.S_ISLNK(mode) else "special file"
        yield Member(info.filename, info.file_size, kind, partial(archive.extract, info))


class _Unpacked(io.RawIOBase):
    """Content of a compressed tar archive, of bounded length.

    Args:
        stream: The decompressed content.
        most: Most bytes of it.

    Attributes:
        header: Bytes that may still be read before the next member, or None while its content is
            read. The length of some headers stands in the header itself.
    """

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._most = stream, most
        self.header: int | None = None

    def read(self, size: int = -1, /) -> bytes:
        """Read `size` bytes, or fewer at the end.

        Raises:
            tarfile.ReadError: If a bound is exceeded.
        """
        size = BLOCK if size < 0 else size
        if self.header is not None:
            if size > self.header:
                raise tarfile.ReadError(f"a header has more than {MAX_TAR_HEADER:,} bytes")
            self.header -= size
        data = self._stream.read(size)
        self._check()
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position; see `read`."""
        if whence == os.SEEK_SET and offset > self._most:
            raise tarfile.ReadError(_too_long(self._most))
        place = self._stream.seek(offset, whence)
        self._check()
        return place

    def tell(self) -> int:
        """Return the position."""
        return self._stream.tell()

    def _check(self) -> None:
        if self._stream.tell() > self._most:
            raise tarfile.ReadError(_too_long(self._most))


def _too_long(most: int) -> str:
    return f"it unpacks to more than the allowed {most:,} bytes"


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    """Return the content of a file that gzip, bzip2 or xz may have compressed."""
    start = file.read(6)
    file.seek(0)
    if start[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if start[:3] == b"BZh":
        return bz2.BZ2File(file)
    if start == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(file)
    return file


def _tar_members(archive: tarfile.TarFile, content: _Unpacked) -> Iterator[Member]:
    while (info := archive.next()) is not None:
        content.header = None
        kind = "file" if info.isreg() else "folder" if info.isdir() else "special file"
        if info.issym() or info.islnk():
            kind = "link"
        # No permissions, owners or times.
        extract = partial(archive.extract, info, set_attrs=False, filter="data")
        yield Member(info.name, info.size, kind, extract)
        content.header = MAX_TAR_HEADER


@contextmanager
def _members(file: Path) -> Iterator[Iterator[Member]]:
    """Open an archive; the members of a tar file must be read in order."""
    with open_input(file) as packed:
        is_zip, size = zipfile.is_zipfile(packed), os.fstat(packed.fileno()).st_size
    if is_zip:
        with open_zip(file) as archive:
            yield _zip_members(archive)
        return
    with open_input(file) as packed, _decompressed(packed) as stream:
        content = _Unpacked(stream, most_unpacked(size))
        content.header = MAX_TAR_HEADER
        with tarfile.open(fileobj=content, mode="r:") as tar:
            yield _tar_members(tar, content)
        content.header = None
        # The checksum of a compressed file comes last, where tarfile does not read.
        while content.read(BLOCK):
            pass


def _refusal(member: Member, folder: Path) -> str | None:
    """Return why a member must not be extracted, or None."""
    name = member.name.rstrip("/")
    if name in (".", "") and member.kind == "folder":
        return None
    if member.kind not in ("file", "folder"):
        return f"is a {member.kind}"
    problem = path_problem(name)
    if problem is None and ("\\" in name or ":" in PurePosixPath(name).parts[0]):
        problem = "is a path of another operating system"
    if problem is None and not (folder / name).resolve().is_relative_to(folder.resolve()):
        problem = "leaves the folder through an existing link"
    return problem


def _check(file: Path, folder: Path) -> int:
    """Check every member before anything is written; return the extracted size in bytes."""
    total = count = 0
    with _members(file) as members:
        for member in members:
            if problem := _refusal(member, folder):
                raise DatasetError(
                    f"{printable(file)}: member {shown(member.name, 200)} {problem}; "
                    "nothing was unpacked; do not trust this archive"
                )
            total, count = total + member.size, count + 1
            if count > MAX_MEMBERS:
                raise DatasetError(f"{printable(file)}: more than {MAX_MEMBERS:,} members")
            if total > most_unpacked(file.stat().st_size):
                raise tarfile.ReadError(_too_long(most_unpacked(file.stat().st_size)))
    return total


def unpack(file: Path, folder: Path, *, progress: Progress | None = None) -> int:
    """Extract a zip or tar archive: regular files and folders only, all below `folder`.

    Every member is checked before anything is written. Permissions, owners and times stored in
    the archive are ignored.

    Args:
        file: The archive.
        folder: Destination; created if absent.
        progress: Called with a label, the bytes done and the total bytes.

    Returns:
        The number of files written.

    Raises:
        DatasetError: If a member is a link or lies outside `folder`, if the archive is damaged or
            unpacks to many times its size, or if the disk has too little space.
    """
    try:
        total = _check(file, folder)
        folder.mkdir(parents=True, exist_ok=True)
        require_space(folder, total, "to unpack it")
        done = count = 0
        with _members(file) as members:
            for member in members:
                if member.kind == "folder":
                    (folder / member.name).mkdir(parents=True, exist_ok=True)
                    continue
                member.extract(folder)
                done, count = done + member.size, count + 1
                if progress:
                    progress(f"unpacking {file.name}", done, total)
    except DAMAGED as error:
        raise DatasetError(
            f"{printable(file)}: damaged archive ({reason(error)}); delete it and download it again"
        ) from error
    except (OSError, RuntimeError, ValueError, NotImplementedError) as error:
        raise DatasetError(f"{printable(file)}: cannot be unpacked: {reason(error)}") from error
    return count


def require_space(folder: Path, size: int, purpose: str) -> None:
    """Check that the disk of `folder` has `size` bytes free.

    Raises:
        DatasetError: If it has less.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DatasetError(
            f"{printable(folder)}: {size / 2**30:.1f} GiB are needed {purpose}, "
            f"{free / 2**30:.1f} GiB are free; free some space or choose another folder"
        )
