"""Nearest neighbours of all pictures of an index, in pieces of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibc_pyg.collections.contents import Contents, Rows
from ibc_pyg.retrieval.reader import IndexReader

_QUERIES = 4096

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
    for start in range(0, len(contents), _QUERIES) if k > 0 else ():
        rows = contents.rows[start : start + _QUERIES]
        found = index.nearest(np.ascontiguousarray(vectors[rows]), k + 1)
        # Of equal vectors another one may come first, or the picture itself be cut off.
        other = found.rows != rows[:, None]  # [Q, k + 1]
        other[other.all(1), -1] = False
        places = contents.places(found.rows[other].reshape(len(rows), k), len(vectors))  # [Q, k]
        yield Neighbours(start, places, found.similarities[other].reshape(len(rows), k))
        if done is not None:
            done(start + len(rows))
