"""The search for nearest rows of an index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ibc_pyg.metrics import nearest_neighbours
from ibc_pyg.retrieval.store.vectors import Vectors

Mask = npt.NDArray[np.bool_]
"""Which rows may be found, bool `[N]`."""


@dataclass(frozen=True)
class NearestRows:
    """Nearest rows of each query, most similar first.

    Attributes:
        rows: int64 `[Q, k]`.
        similarities: Cosines, float32 `[Q, k]`.
    """

    rows: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float32]


def nearest_rows(vectors: Vectors, queries: Vectors, k: int, allowed: Mask | None) -> NearestRows:
    """Find the most similar rows of each query.

    Args:
        vectors: `[N, D]`.
        queries: `[Q, D]`, finite, of any norm.
        k: Rows per query, >= 1; all that are allowed if there are fewer.
        allowed: Which rows may be found; None allows all.

    Returns:
        Exactly the nearest, the lower row first among equally similar ones. A zero vector has
        cosine 0 with all others.
    """
    chosen = None if allowed is None or allowed.all() else np.flatnonzero(allowed)
    gallery = vectors if chosen is None else vectors[chosen]  # [M, D]
    k = min(k, len(gallery))
    if not k or not len(queries):
        empty = (len(queries), 0)
        return NearestRows(np.empty(empty, np.int64), np.empty(empty, np.float32))
    found = nearest_neighbours(torch.from_numpy(queries), torch.from_numpy(gallery), k=k)
    rows = found.indices.numpy()  # [Q, k]
    return NearestRows(rows if chosen is None else chosen[rows], found.scores.numpy())
