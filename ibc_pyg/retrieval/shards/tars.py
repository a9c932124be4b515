"""Tar files of pictures in the layout of webdataset.

Successive members with the same name up to the first dot of its last part are one sample; its class
is the text of its member `.cls`, or `label` of `.json`. See https://github.com/webdataset/webdataset.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, cast

from ibc_pyg.data.images.formats import SUFFIXES
from ibc_pyg.errors import RunError, first_line, printable
from ibc_pyg.files import parse_json
from ibc_pyg.retrieval.update.feed import MAX_BYTES, FileRead
from ibc_pyg.retrieval.update.scan import Listed

_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
_MAX_TEXT = 2**20
_BLOCK, _CHUNK = 512, 2**20
_FIELDS = ("label", "class", "cls")


@dataclass
class _Sample:
    """Members of one sample.

    Attributes:
        key: Their common name.
        pictures: Pictures without a class.
        label: Its class; None without one.
    """

    key: str
    pictures: list[FileRead] = field(default_factory=list)
    label: str | None = None

    def finish(self) -> Iterator[FileRead]:
        for each in self.pictures:
            known = each.listed
            labelled = Listed(known.path, self.label, known.size, known.mtime_ns)
            yield FileRead(labelled, each.sha256, each.content, each.reason)


class _Whole:
    """Stream of a tar file that knows whether its end was there, of which tarfile says nothing."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._size, self._end = stream, 0, b""

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._size += len(data)
        self._end = (self._end + data)[-_BLOCK:]
        return data

    def finish(self) -> None:
        """Read the rest; raise ReadError if the file does not end with a block of zeros."""
        while self.read(_CHUNK):
            pass
        if self._size % _BLOCK or self._end.strip(b"\0"):
            raise tarfile.ReadError("unexpected end of data")


def read_tar(stream: IO[bytes], name: str) -> Iterator[FileRead]:
    """Read the pictures of a tar file, in their order.

    Nothing is extracted to the disk, and names are used as names alone.

    Args:
        stream: The file, not compressed; it is read once, from the beginning to the end.
        name: Its name, which the paths of its pictures begin with.

    Raises:
        RunError: If it is damaged, or a name stands in it twice or leads out of it.
    """
    seen: set[str] = set()
    sample, whole = _Sample(""), _Whole(stream)
    try:
        with tarfile.open(fileobj=cast(IO[bytes], whole), mode="r|") as archive:
            for member in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # keeps all
                found = _NAME.fullmatch(member.name)
                if not member.isreg() or found is None or _is_hidden(member.name):
                    continue
                if member.name in seen or ".." in member.name.split("/"):
                    why = "stands in it twice" if member.name in seen else "leads out of it"
                    raise RunError(f"{printable(name)}: {printable(member.name)} {why}")
                if found[1] != sample.key:
                    yield from sample.finish()
                    sample = _Sample(found[1])
                if _is_picture(member.name):
                    seen.add(member.name)
                    sample.pictures.append(_picture(archive, member, name))
                elif sample.label is None:
                    sample.label = _label(archive, member, found[2].lower())
        whole.finish()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise RunError(f"{printable(name)} is damaged: {first_line(error)}") from error
    yield from sample.finish()


def _is_hidden(name: str) -> bool:
    return PurePosixPath(name).name.startswith((".", "__"))


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _picture(archive: tarfile.TarFile, member: tarfile.TarInfo, tar: str) -> FileRead:
    listed = Listed(f"{tar}/{member.name}", None, member.size, int(member.mtime) * 10**9)
    if member.size > MAX_BYTES:
        return FileRead(listed, None, reason=f"larger than {MAX_BYTES:,} bytes")
    content = _content(archive, member)
    return FileRead(listed, hashlib.sha256(content).digest(), content)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    content = b"" if file is None else file.read()
    if len(content) != member.size:
        raise tarfile.ReadError("unexpected end of data")
    return content


def _label(archive: tarfile.TarFile, member: tarfile.TarInfo, suffix: str) -> str | None:
    if suffix not in ("cls", "json") or member.size > _MAX_TEXT:
        return None
    try:
        text = _content(archive, member).decode().strip()
        if suffix == "cls":
            return printable(text) or None
        found = parse_json(text)
    except ValueError:
        return None
    values = [found.get(each) for each in _FIELDS] if isinstance(found, dict) else []
    label = next((each for each in values if isinstance(each, str | int)), None)
    return None if label is None or isinstance(label, bool) else printable(str(label)) or None
