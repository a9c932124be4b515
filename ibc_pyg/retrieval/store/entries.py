"""Files of an index with their vectors' rows, as users see them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ibc_pyg.retrieval.store.catalogue import Cursor
from ibc_pyg.retrieval.store.roots import roots


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an index.

    Attributes:
        row: Row of its vector; files of one content share it.
        path: The file.
        label: Its class; None without one.
        sha256: Hash of its content, hexadecimal.
    """

    row: int
    path: str
    label: str | None
    sha256: str


def entries(sql: Cursor) -> Iterator[Entry]:
    """Yield the files of an index, ascending by row."""
    folders = {number: Path(source.root) for number, source in roots(sql)}
    found = sql.execute(
        "SELECT contents.row, sha256, root, path, label FROM contents JOIN names "
        "ON names.row = contents.row WHERE removed = 0 ORDER BY contents.row, names.id"
    )
    for row, sha256, root, path, label in found:
        yield Entry(row, str(folders[root] / os.fsdecode(path)), label, bytes(sha256).hex())
