"""Sources of the pictures, in the catalogue."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ibc_pyg.errors import printable
from ibc_pyg.retrieval.store.catalogue import Cursor, damaged, stored

Part = Literal["all", "train", "test", "query", "gallery"]
"""Images of a CSV file or a data set: all, or those of one role."""

PARTS: tuple[Part, ...] = get_args(Part)

TREE, LIST, FILES = "folder of pictures", "list of pictures", "single files"
TARS = "tar files of pictures"
"""Kinds of sources besides the names of data sets."""


@dataclass(frozen=True, slots=True)
class Source:
    """Source of pictures, whose paths are relative to `root`.

    Attributes:
        kind: `TREE`, `LIST`, `FILES`, `TARS`, or the name of a data set.
        root: Absolute path of the folder, or its URL.
        file: Absolute path or URL of the CSV file of a list, or of tar files; else None.
        part: Which images of a list or a data set.
    """

    kind: str
    root: str
    file: str | None = None
    part: Part = "all"

    def __str__(self) -> str:
        """Return kind and place."""
        part = "" if self.part == "all" else f", {self.part}"
        return printable(f"{self.kind} {self.file or self.root}{part}")


def is_url(root: str) -> bool:
    """Tell whether a root is a URL, not a folder of this machine."""
    return "://" in root


def roots(sql: Cursor) -> list[tuple[int, Source]]:
    """Return number and source of each root.

    Raises:
        RunError: If the catalogue is damaged.
    """
    found = []
    for number, kind, path, file, part in sql.execute(
        "SELECT id, kind, path, file, part FROM roots ORDER BY id"
    ):
        texts = [path, *([] if file is None else [file])]
        known = part in PARTS and isinstance(kind, str)
        if not known or not all(isinstance(each, str | bytes) for each in texts):
            raise damaged("a source of pictures is none")
        file = None if file is None else os.fsdecode(file)
        found.append((number, Source(kind, os.fsdecode(path), file, part)))
    return found


def places(sql: Cursor) -> Callable[[int, str], str]:
    """Return the function from a root and a path in it to the place of a picture: path or URL.

    It raises RunError if there is no such root.
    """
    known = {number: source.root for number, source in roots(sql)}

    def place(root: int, path: str) -> str:
        if root not in known:
            raise damaged(f"there is no root {root}")
        base = known[root]
        return f"{base}/{path}" if is_url(base) else str(Path(base) / path)

    return place


def add_root(sql: Cursor, source: Source) -> int:
    """Add a root and return its number."""
    file = None if source.file is None else stored(source.file)
    sql.execute(
        "INSERT INTO roots(kind, path, file, part) VALUES (?, ?, ?, ?)",
        (source.kind, stored(source.root), file, source.part),
    )
    return int(sql.lastrowid or 0)


def move_root(sql: Cursor, number: int, source: Source) -> None:
    """Change where a root is."""
    file = None if source.file is None else stored(source.file)
    sql.execute(
        "UPDATE roots SET path = ?, file = ? WHERE id = ?", (stored(source.root), file, number)
    )
