"""Contents of an index, in an order that does not depend on how it was built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
        digests: SHA-256 of each, hexadecimal, ascending.
    """

    rows: Rows
    paths: Sequence[tuple[str, ...]]
    labels: Sequence[str | None]
    digests: Sequence[str]

    @classmethod
    def of(cls, index: IndexReader) -> Contents:
        """Read them from an index."""
        files: dict[str, tuple[int, dict[str, str | None]]] = {}
        for each in index.catalogue:
            files.setdefault(each.sha256, (each.row, {}))[1].setdefault(each.path, each.label)
        digests = sorted(files)
        paths = [tuple(sorted(files[digest][1])) for digest in digests]
        return cls(
            rows=np.array([files[digest][0] for digest in digests], np.int64),
            paths=paths,
            labels=[files[d][1][names[0]] for d, names in zip(digests, paths, strict=True)],
            digests=digests,
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
