"""Diffusion in an index: what each row reaches is stored, and a query starts at its neighbours."""

from __future__ import annotations

import numpy as np
import torch

from ibc_pyg.metrics import Neighbours
from ibc_pyg.refinement import Parameters
from ibc_pyg.refinement.diffusion import spread
from ibc_pyg.refinement.method import LEAST_SHARE
from ibc_pyg.retrieval.nearest import Mask, NearestRows, unit
from ibc_pyg.retrieval.refined.lists import StoredLists
from ibc_pyg.retrieval.refined.writing import Rows, Writing
from ibc_pyg.retrieval.store.vectors import Vectors

_AT_A_TIME = 4096


def write_diffusion(files: Writing, p: Parameters) -> None:
    """Spread from each row of an index over the graph of neighbours; see `diffuse`.

    The graph and what was reached are in memory: k and 200 entries for each row.
    """
    own = np.flatnonzero(files.live)
    parts = [
        files.neighbours(files.vectors, own[start : start + _AT_A_TIME], p.k)
        for start in range(0, len(own), _AT_A_TIME)
    ]
    rows = np.concatenate([part.rows for part in parts])  # [n, k]
    near = Neighbours(
        torch.from_numpy(np.searchsorted(own, rows)),
        torch.from_numpy(np.concatenate([part.similarities for part in parts])),
    )
    reached = spread(near, p.power, p.rounds)  # [n, n]
    width = int(np.diff(reached.indptr).max(initial=0))

    def find(rows: Rows) -> NearestRows:
        part = reached[np.searchsorted(own, rows)]
        filled = np.arange(width) < np.diff(part.indptr)[:, None]  # [n, W]
        found = NearestRows(np.full(filled.shape, -1), np.zeros(filled.shape, np.float32))
        found.rows[filled], found.similarities[filled] = own[part.indices], part.data
        return found

    files.write_lists(width, width, find)


def search_diffusion(
    queries: Vectors,
    near: NearestRows,
    plain: NearestRows,
    vectors: Vectors,
    lists: StoredLists,
    allowed: Mask | None,
    p: Parameters,
) -> NearestRows:
    """Find the rows of the highest score: what is reached, averaged with the cosine.

    A row that is not reached is behind the k of the highest cosines, so these and the reached are
    candidates enough.

    Args:
        queries: `[Q, D]`.
        near: Neighbours of each among all live rows, `[Q, k']`.
        plain: The k allowed rows of the highest cosine, `[Q, k]`.
        vectors: `[N, D]`.
        lists: What each row reaches.
        allowed: Which rows may be found, bool `[N]`.
        p: Parameters.

    Returns:
        Rows and scores, `[Q, k]`.
    """
    x, share = unit(queries), max(p.share, LEAST_SHARE)
    found = NearestRows(plain.rows.copy(), plain.similarities.copy())
    for number, rows in enumerate(near.rows):
        start = np.clip(near.similarities[number], 0, None) ** p.power  # [k']
        pairs = lists[rows]  # [k', W]
        kept = pairs["row"] >= 0
        reached, place = np.unique(pairs["row"][kept], return_inverse=True)
        sums = np.bincount(place, (start[:, None] * pairs["value"])[kept], len(reached))
        score = sums / max(float(sums.max(initial=0)), 1e-30)
        if allowed is not None:
            reached, score = reached[allowed[reached]], score[allowed[reached]]
        items = np.union1d(reached, plain.rows[number])
        cosines = (unit(vectors[items]) @ x[number]).numpy()  # [C]
        total = share * cosines.astype(np.float64)
        total[np.searchsorted(items, reached)] += (1 - share) * score
        best = np.lexsort((items, -total))[: plain.rows.shape[1]]
        found.rows[number], found.similarities[number] = items[best], total[best]
    return found
