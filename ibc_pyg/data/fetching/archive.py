"""Unpacking archives that may come from anywhere."""

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
from typing import IO

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
        kind: `file`, `folder`, or what else it is.
        open: Opens it for reading.
    """

    name: str
    size: int
    kind: str
    open: Callable[[], IO[bytes] | None]


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16
        kind = "folder" if info.is_dir() else "file"
        if info.create_system == 3 and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "link" if stat.S_ISLNK(mode) else "special file"
        yield Member(info.filename, info.file_size, kind, partial(archive.open, info))


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        kind = "file" if info.isreg() else "folder" if info.isdir() else "special file"
        if info.issym() or info.islnk():
            kind = "link"
        yield Member(info.name, info.size, kind, partial(archive.extractfile, info))


@contextmanager
def _members(file: Path) -> Iterator[Iterator[Member]]:
    """Open an archive; the members of a tar file must be read in order."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            yield _zip_members(archive)
    else:
        with tarfile.open(file, "r:*") as tar:
            yield _tar_members(tar)
            # Checksums of compressed files come last, after what tarfile itself reads.
            while tar.fileobj is not None and tar.fileobj.read(BLOCK):
                pass


def _refusal(member: Member, folder: Path) -> str | None:
    """Return why a member must not be unpacked, or None."""
    name = member.name.rstrip("/")
    if name in (".", "") and member.kind == "folder":
        return None
    if member.kind not in ("file", "folder"):
        return f"is a {member.kind}"
    problem = path_problem(name)
    if problem is None and ("\\" in name or ":" in PurePosixPath(name).parts[0]):
        problem = "is a path of another system"
    if problem is None and not (folder / name).resolve().is_relative_to(folder.resolve()):
        problem = "leaves the folder by a link that is there already"
    return problem


def _check(file: Path, folder: Path) -> int:
    """Look at every member before anything is written; return the bytes when unpacked."""
    total = 0
    with _members(file) as members:
        for member in members:
            if problem := _refusal(member, folder):
                raise DatasetError(
                    f"{printable(file)}: member {shown(member.name, 200)} {problem}; "
                    "nothing was unpacked, do not trust this archive"
                )
            total += member.size
    return total


def unpack(file: Path, folder: Path, *, progress: Progress | None = None) -> int:
    """Unpack a zip or tar archive: plain files and folders only, all below `folder`.

    Every member is looked at before anything is written. Permissions, owners and times of the
    archive are not taken over.

    Args:
        file: The archive.
        folder: Where to unpack it; made if absent.
        progress: Called with a label, the bytes done and the bytes in all.

    Returns:
        The number of files written.

    Raises:
        DatasetError: If a member is a link or would land outside `folder`, if the archive is
            damaged, or if the disk is too small for it.
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
                _write(member, folder / member.name)
                done, count = done + member.size, count + 1
                if progress:
                    progress(f"unpacking {file.name}", done, total)
    except DAMAGED as error:
        raise DatasetError(
            f"{printable(file)}: damaged archive ({reason(error)}); remove it and fetch it again"
        ) from error
    except (OSError, RuntimeError, ValueError, NotImplementedError) as error:
        raise DatasetError(f"{printable(file)}: cannot be unpacked: {reason(error)}") from error
    return count


def _write(member: Member, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise ValueError(f"{shown(member.name)} has no content")
    left = member.size
    with source, target.open("wb") as out:
        while block := source.read(BLOCK):
            left -= len(block)
            if left < 0:
                raise ValueError(f"{shown(member.name)} is larger than the archive says")
            out.write(block)
    if left:
        raise EOFError(f"{shown(member.name)} is cut short")


def require_space(folder: Path, size: int, purpose: str) -> None:
    """Check that the disk of `folder` has room for `size` bytes.

    Raises:
        DatasetError: If it has not.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DatasetError(
            f"{printable(folder)}: {size / 2**30:.1f} GiB are needed {purpose}, "
            f"{free / 2**30:.1f} GiB are free; make room or choose another folder"
        )
