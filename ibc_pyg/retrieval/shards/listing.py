"""Pictures of a job: in folders, lists, data sets, tar files, and at URLs of these."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ibc_pyg.data.sets.csv_list import read_csv
from ibc_pyg.data.table import Role
from ibc_pyg.errors import ConfigError, DatasetError, printable
from ibc_pyg.retrieval.shards.urls import list_url, read_text
from ibc_pyg.retrieval.store.roots import LIST, TARS, TREE, Part, Source
from ibc_pyg.retrieval.update.scan import Listed, find_source, is_list, list_files, list_source

MAX_LIST = 2**30
"""Most bytes of a CSV file at a URL."""
_RANGE = re.compile(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}")
_MOST = 10**6


def find_pictures(
    images: str | os.PathLike[str], root: str | os.PathLike[str] | None, part: Part
) -> tuple[Source, list[Listed]]:
    """Return source and listing of the pictures, or of the tar files, of a job.

    Args:
        images: A folder, a CSV file or the name of a data set, see `find_source`; tar files as one
            name with `*` or `{000..099}`; or the URL of a folder, a CSV file or tar files.
        root: Folder of the data set.
        part: Which images of a CSV file or a data set.

    Raises:
        ConfigError: If an argument does not apply.
        DatasetError: If nothing is there, or it cannot be read.
    """
    name = os.fspath(images)
    if root is None and name.endswith(".tar"):
        _refuse_part(part, "tar files")
        source, listed = _tars(name)
    elif root is None and "://" in name:
        source, listed = _at_url(name.rstrip("/"), part)
    else:
        source = find_source(images, root, part)
        listed = list_source(source, trust_code=True)
    if not listed:
        raise DatasetError(f"{source}: nothing is there to embed")
    return source, listed


def _refuse_part(part: Part, what: str) -> None:
    if part != "all":
        raise ConfigError(f"part = {part} needs a CSV file or a data set, not {what}")


def _at_url(url: str, part: Part) -> tuple[Source, list[Listed]]:
    if not is_list(url):
        _refuse_part(part, "a folder")
        return Source(TREE, url), list_url(url)
    folder = url.rpartition("/")[0]
    source, listed = Source(LIST, folder, url, part), []
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, url.rpartition("/")[2])
        file.write_bytes(read_text(url, MAX_LIST))
        images, _ = read_csv(file, file.parent)
    for image in images:
        if image.path.startswith("/") or ".." in image.path.split("/"):
            raise DatasetError(
                f"{printable(url)}: the path {printable(image.path)} leads out of its folder"
            )
        if part == "all" or image.role & Role[part.upper()]:
            listed.append(Listed(image.path, str(image.label), None, None))
    return source, listed


def _tars(pattern: str) -> tuple[Source, list[Listed]]:
    folder, slash, _ = pattern.rpartition("/")
    if any(mark in folder for mark in "*{"):
        raise DatasetError(
            f"{printable(pattern)}: only the name of the tar files may have * or {{000..099}}, "
            "not their folder"
        )
    name = pattern.rpartition("/")[2]
    if "://" in pattern:
        source, found = Source(TARS, folder, pattern), list_url(folder, frozenset({".tar"}))
    else:
        root = Path(folder or slash or ".").resolve()
        if not root.is_dir():
            raise DatasetError(f"there is no folder {printable(root)}")
        source = Source(TARS, str(root), str(root / name))
        found = list_files(root, sorted((each.name, None) for each in root.glob("*.tar")))
    there = {each.path: Listed(each.path, None, each.size, each.mtime_ns) for each in found}
    if "*" in name:
        wanted = re.compile("[^/]*".join(map(re.escape, name.split("*"))))
        return source, [there[each] for each in sorted(there) if wanted.fullmatch(each)]
    names = sorted(_expanded(name))
    for each in names:
        if each not in there:
            raise DatasetError(f"there is no tar file {printable(folder + slash + each)}")
    return source, [there[each] for each in names]


def _expanded(pattern: str) -> Iterator[str]:
    """Yield the names of a pattern with at most one range."""
    found = _RANGE.search(pattern)
    if found is None:
        yield pattern
        return
    first, last = int(found[1]), int(found[2])
    if not first <= last < first + _MOST:
        raise DatasetError(f"{printable(pattern)}: the range must ascend, over at most {_MOST:,}")
    for number in range(first, last + 1):
        text = str(number).zfill(len(found[1]))
        yield pattern[: found.start()] + text + pattern[found.end() :]
