"""Contents of an index, in an order that does not depend on how it was built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ibc_pyg.retrieval.reader import IndexReader

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Contents:
    """Different contents of an index with their files, ascending by SHA-256.

    Attributes:
        rows: Row of each content in `Index.vectors`, int64 `[N]`.
        paths: Files of each content, sorted; at least one.
        labels: Class of each content, that of its first file; None without one.
        digests: SHA-256 of each, ascending.
    """

    rows: Rows
    paths: Sequence[tuple[str, ...]]
    labels: Sequence[str | None]
    digests: Sequence[bytes]

    @classmethod
    def of(cls, index: IndexReader) -> Contents:
        """Read them from an index."""
        rows: list[int] = []
        paths: list[tuple[str, ...]] = []
        labels: list[str | None] = []
        digests: list[bytes] = []
        shared: dict[str | None, str | None] = {}  # one text for each class
        for row, group in groupby(index.files(), key=lambda each: each.row):
            entries = list(group)
            first = min(entries, key=lambda each: each.path)
            rows.append(row)
            paths.append(tuple(sorted({each.path for each in entries})))
            labels.append(shared.setdefault(first.label, first.label))
            digests.append(bytes.fromhex(first.sha256))
        order = sorted(range(len(rows)), key=digests.__getitem__)
        return cls(
            rows=np.array(rows, np.int64)[order],
            paths=[paths[place] for place in order],
            labels=[labels[place] for place in order],
            digests=[digests[place] for place in order],
        )

    def __len__(self) -> int:
        """Return the number N of contents."""
        return len(self.rows)

    def places(self, rows: Rows, size: int) -> Rows:
        """Return the places of rows of the index, -1 for a row without a content.

        Args:
            rows: Rows, int64 of any shape.
            size: Number of rows of the index.
        """
        place = np.full(size, -1, np.int64)
        place[self.rows] = np.arange(len(self))
        return place[rows]

    def file(self, place: int) -> Path:
        """Return the first file of a content that is there, or the first."""
        files = [Path(each) for each in self.paths[place]]
        return next((each for each in files if each.is_file()), files[0])
