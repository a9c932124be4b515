"""Lists of rows and their values, for each row of an index, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ibc_pyg.errors import RunError, printable, reason

_PAIR = np.dtype([("row", "<i4"), ("value", "<f4")])

StoredLists = npt.NDArray[Any]
"""Pairs of a row and a value, `[N, W]`; the row -1 is none."""


def no_lists(rows: int, width: int) -> StoredLists:
    """Return empty lists, `[rows, width]`."""
    out = np.zeros((rows, width), _PAIR)
    out["row"] = -1
    return out


def map_lists(path: Path, rows: int, width: int | None = None) -> StoredLists:
    """Map a file of lists into memory, `[rows, width]`.

    Args:
        path: The file.
        rows: Number of lists.
        width: Their length; None takes that of the file.

    Raises:
        RunError: If its size is not that of so many lists, it names other rows, or it cannot be
            read.
    """
    try:
        size = path.stat().st_size
        if width is None:
            width = size // (_PAIR.itemsize * rows)
        if size != width * _PAIR.itemsize * rows:
            raise RunError(f"{printable(path)} is damaged: it has not {rows:,} lists")
        if not size:
            return no_lists(rows, width)
        lists: StoredLists = np.memmap(path, dtype=_PAIR, mode="r", shape=(rows, width))
        if lists["row"].min() < -1 or lists["row"].max() >= rows:
            raise RunError(f"{printable(path)} is damaged: it names rows that are not there")
        return lists
    except (OSError, ValueError) as error:
        raise RunError(f"{printable(path)} cannot be read: {reason(error)}") from error
