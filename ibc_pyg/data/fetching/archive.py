"""Extraction of archives from untrusted sources."""

from __future__ import annotations

import lzma
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

from ibc_pyg.data.annotations.text import path_problem
from ibc_pyg.errors import DatasetError, printable, reason, shown

Progress = Callable[[str, int, int | None], None]
BLOCK = 2**20
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)


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
        kind = "folder" if info.is_dir() else "file"
        if info.create_system == 3 and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "link" if stat.S_ISLNK(mode) else "special file"
        yield Member(info.filename, info.file_size, kind, partial(archive.extract, info))


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        kind = "file" if info.isreg() else "folder" if info.isdir() else "special file"
        if info.issym() or info.islnk():
            kind = "link"
        # No permissions, owners or times.
        extract = partial(archive.extract, info, set_attrs=False, filter="data")
        yield Member(info.name, info.size, kind, extract)


@contextmanager
def _members(file: Path) -> Iterator[Iterator[Member]]:
    """Open an archive; the members of a tar file must be read in order."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            yield _zip_members(archive)
    else:
        with tarfile.open(file, "r:*") as tar:
            yield _tar_members(tar)
            # The checksum of a compressed file comes last, where tarfile does not read.
            while tar.fileobj is not None and tar.fileobj.read(BLOCK):
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
    total = 0
    with _members(file) as members:
        for member in members:
            if problem := _refusal(member, folder):
                raise DatasetError(
                    f"{printable(file)}: member {shown(member.name, 200)} {problem}; "
                    "nothing was unpacked; do not trust this archive"
                )
            total += member.size
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
        DatasetError: If a member is a link or lies outside `folder`, if the archive is damaged,
            or if the disk has too little space.
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
