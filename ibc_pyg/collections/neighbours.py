"""Nearest neighbours of all pictures of an index, in pieces of bounded memory."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibc_pyg.collections.contents import Contents, Rows
from ibc_pyg.retrieval.reader import IndexReader

STEP = 512
"""Queries at a time; the rows that are compared again for them are read from the disk."""

Done = Callable[[int], None]
"""Called with the number of pictures done."""


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of successive pictures.

    Attributes:
        first: Place of the first of these pictures.
        places: Places of the neighbours, nearest first, int64 `[Q, k]`; the picture itself is left
            out.
        similarities: Cosines, float32 `[Q, k]`.
    """

    first: int
    places: Rows
    similarities: npt.NDArray[np.float32]


def neighbours(
    index: IndexReader, contents: Contents, k: int, done: Done | None = None
) -> Iterator[Neighbours]:
    """Yield the k nearest other pictures of each picture of an index.

    Args:
        index: The index.
        contents: Its contents.
        k: Neighbours, >= 1; all there are if there are fewer.
        done: Called with the number of pictures done.
    """
    vectors = index.vectors
    k = min(k, len(contents) - 1)
    for start in range(0, len(contents), STEP) if k > 0 else ():
        rows = contents.rows[start : start + STEP]
        found = index.nearest(np.ascontiguousarray(vectors[rows]), k + 1).without(rows)
        places = contents.places(found.rows, len(vectors))  # [Q, k]
        release(vectors)
        yield Neighbours(start, places, found.similarities)
        if done is not None:
            done(start + len(rows))


def release(vectors: npt.NDArray[np.float32]) -> None:
    """Give back the memory of vectors that were read from a map; they are read again if needed."""
    base: object = vectors
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
