"""Sizes and modification times of image files, by which a replaced file is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.table import ImageTable, Rows

Stamps = npt.NDArray[np.int64]
"""Size in bytes and modification time in nanoseconds, int64 `[M, 2]`; -1 for a missing file."""


def file_stamps(table: ImageTable, rows: Rows) -> Stamps:
    """Return the stamps of the image files of some rows, in their order."""
    root = table.root or Path()
    stamps = np.full((len(rows), 2), -1, dtype=np.int64)
    for place, row in enumerate(rows.tolist()):
        try:
            status = (root / table.paths[row]).stat()
        except OSError:
            continue
        stamps[place] = status.st_size, status.st_mtime_ns
    return stamps


def replaced(before: Stamps, now: Stamps) -> npt.NDArray[np.bool_]:
    """Return which files are there and differ from before, bool `[M]`."""
    differ: npt.NDArray[np.bool_] = (before != now).any(axis=1)  # [M]
    return differ & (now[:, 0] >= 0)
