"""Files of an index with their vectors' rows, as users see them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from ibc_pyg.retrieval.store.catalogue import Cursor, damaged
from ibc_pyg.retrieval.store.roots import places


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
    place = places(sql)
    found = sql.execute(
        "SELECT contents.row, sha256, root, path, label FROM contents JOIN names "
        "ON names.row = contents.row WHERE removed = 0 ORDER BY contents.row, names.id"
    )
    for row, sha256, root, path, label in found:
        if not isinstance(path, str | bytes) or not isinstance(sha256, bytes):
            raise damaged(f"row {row} has no name or no hash")
        yield Entry(row, place(root, os.fsdecode(path)), label, sha256.hex())
