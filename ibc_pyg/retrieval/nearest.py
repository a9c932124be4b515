"""The exact search for nearest rows of an index.

`metrics.nearest_neighbours` prepares the whole gallery in float64 at each call, which takes far
longer than one query. Beyond a small size the same answer comes from one pass over the vectors: a
float32 product with a bound of its error leaves few pairs, and the measure of the metrics orders
those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ibc_pyg.errors import RunError, program
from ibc_pyg.graph.products import plain_float32
from ibc_pyg.metrics import nearest_neighbours
from ibc_pyg.metrics.exact.similarity import cosine_squares
from ibc_pyg.metrics.inputs import inverse_norms
from ibc_pyg.retrieval.store.vectors import Vectors

Mask = npt.NDArray[np.bool_]
"""Rows that may be found, bool `[N]`."""

_DIRECT = 2**21
"""Most numbers of a gallery that `nearest_neighbours` searches."""
_CHUNK = 2**22
"""Numbers of the gallery in one product."""
_QUERIES = 256
_PAIRS = 2**17
"""Pairs of query and row that are kept before they are ordered."""


@dataclass(frozen=True)
class NearestRows:
    """Nearest rows of each query, most similar first.

    Attributes:
        rows: int64 `[Q, k]`.
        similarities: Cosines, float32 `[Q, k]`.
    """

    rows: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float32]

    def without(self, own: npt.NDArray[np.int64]) -> NearestRows:
        """Leave row `own[i]` out of list i, `[Q, k] -> [Q, k - 1]`.

        Where more rows are equal than the list is long, it may not be there: then the last is left
        out.
        """
        rest = self.rows != own[:, None]  # [Q, k]
        rest[:, -1] &= ~rest[:, :-1].all(1)
        shape = (len(own), self.rows.shape[1] - 1)
        return NearestRows(self.rows[rest].reshape(shape), self.similarities[rest].reshape(shape))


@dataclass(frozen=True)
class Pairs:
    """Pairs of a query and a row.

    Attributes:
        query: Numbers of the queries, int64 `[P]`.
        row: Rows of the vectors, int64 `[P]`.
    """

    query: Tensor
    row: Tensor


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

    Raises:
        RunError: If a vector is not finite.
    """
    chosen = None if allowed is None or allowed.all() else np.flatnonzero(allowed)
    count = len(vectors) if chosen is None else len(chosen)
    k = min(k, count)
    if not k or not len(queries):
        empty = (len(queries), 0)
        return NearestRows(np.empty(empty, np.int64), np.empty(empty, np.float32))
    if count * vectors.shape[1] <= _DIRECT:
        gallery = vectors if chosen is None else vectors[chosen]  # [M, D]
        found = nearest_neighbours(torch.from_numpy(queries), torch.from_numpy(gallery), k=k)
        rows = found.indices.numpy()  # [Q, k]
        return NearestRows(rows if chosen is None else chosen[rows], found.scores.numpy())
    starts = range(0, len(queries), _QUERIES)
    return joined([_scan(vectors, chosen, queries[s : s + _QUERIES], k) for s in starts])


def _slack(dim: int) -> float:
    """Return how far apart two float32 cosines of D numbers must be to be in that order."""
    # As in `make_similarity`, here for a product and a norm in float32.
    return 2.001 * 2.0**-24 * (2 * min(dim, 5 * math.sqrt(dim)) + 16)


def joined(parts: list[NearestRows]) -> NearestRows:
    """Return the results of successive queries as one."""
    return NearestRows(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.similarities for part in parts]),
    )


def unit(queries: Vectors) -> Tensor:
    """Return queries as unit vectors, float32 `[Q, D]`; a zero vector stays."""
    wide = torch.from_numpy(queries).double()  # [Q, D]
    return (wide * inverse_norms(wide)).float()


def _scan(
    vectors: Vectors, chosen: npt.NDArray[np.int64] | None, queries: Vectors, k: int
) -> NearestRows:
    """Search in one pass over the chosen rows, or all."""
    count, dim = len(vectors) if chosen is None else len(chosen), vectors.shape[1]
    step = max(1, _CHUNK // dim)
    slack = _slack(dim)
    q = unit(queries)  # [Q, D]
    top = torch.full((len(q), k), -torch.inf)
    pairs = Pairs(torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long))
    bounds = torch.empty(0)
    with plain_float32():
        for start in range(0, count, step):
            rows = slice(start, start + step) if chosen is None else chosen[start : start + step]
            part = torch.from_numpy(vectors[rows])  # [n, D]
            norms = torch.linalg.vector_norm(part, dim=1)  # [n]
            bound = (q @ part.T).mul_(torch.where(norms > 0, 1 / norms, 0))  # [Q, n]
            if not bool(torch.isfinite(bound.sum())):
                raise RunError(
                    f"a vector of the index is damaged; examine it: {program()} index verify INDEX"
                )
            best = bound.topk(min(k, len(part))).values  # [Q, min(k, n)]
            top = torch.cat([top, best], 1).topk(k).values  # [Q, k]
            query, item = torch.nonzero(bound >= top[:, -1:] - slack, as_tuple=True)
            row = item + start if chosen is None else torch.from_numpy(chosen)[item + start]
            pairs = Pairs(torch.cat([pairs.query, query]), torch.cat([pairs.row, row]))
            bounds = torch.cat([bounds, bound[query, item]])
            kept = bounds >= top[pairs.query, -1] - slack
            pairs, bounds = Pairs(pairs.query[kept], pairs.row[kept]), bounds[kept]
            if len(pairs.query) > _PAIRS:
                # Very many rows tie: of those the nearest, and the lowest, are enough.
                order = ordered(vectors, queries, pairs, k)[0]
                pairs, bounds = Pairs(pairs.query[order], pairs.row[order]), bounds[order]
    return settled(vectors, queries, pairs, k)


def nearest_among(
    vectors: Vectors, queries: Vectors, rows: npt.NDArray[np.int64], k: int
) -> NearestRows:
    """Find the most similar of some rows of each query.

    Args:
        vectors: `[N, D]`.
        queries: `[Q, D]`, finite, of any norm, none of zeros.
        rows: int64 `[Q, C]`, the candidates of each query: different ones, -1 for none.
        k: Rows per query, at most its number of candidates.

    Returns:
        As `nearest_rows` of a gallery of the candidates.
    """
    step = max(1, _CHUNK // (vectors.shape[1] * rows.shape[1]))
    parts = []
    for start in range(0, len(queries), step):
        chosen = rows[start : start + step]  # [n, C]
        part = torch.from_numpy(vectors[chosen])  # [n, C, D]
        with plain_float32():
            q = unit(queries[start : start + step])[:, :, None]  # [n, D, 1]
            bound = (part @ q).squeeze(2)  # [n, C]
            norms = torch.linalg.vector_norm(part, dim=2)  # [n, C]
        bound *= torch.where(norms > 0, 1 / norms, 0)
        bound[torch.from_numpy(chosen < 0)] = -torch.inf
        least = bound.topk(k).values[:, -1:] - _slack(vectors.shape[1])  # [n, 1]
        query, column = torch.nonzero(~(bound < least), as_tuple=True)
        pairs = Pairs(query, torch.from_numpy(chosen)[query, column])
        parts.append(settled(vectors, queries[start : start + step], pairs, k))
    return joined(parts)


def settled(vectors: Vectors, queries: Vectors, pairs: Pairs, k: int) -> NearestRows:
    """Return the k nearest rows of each query among pairs.

    Args:
        vectors: `[N, D]`.
        queries: `[Q, D]`.
        pairs: At least k different rows for each query.
        k: Rows per query.
    """
    order, squares = ordered(vectors, queries, pairs, k)
    rows = pairs.row[order].reshape(len(queries), k)  # [Q, k]
    scores = (1 - squares / 2).float().reshape(len(queries), k)  # [Q, k]
    return NearestRows(rows.numpy(), scores.numpy())


def ordered(vectors: Vectors, queries: Vectors, pairs: Pairs, k: int) -> tuple[Tensor, Tensor]:
    """Order pairs by query, exact distance and row, and keep k of each query.

    Returns:
        Places of the kept pairs, int64, and their squared distances, float64.
    """
    squares = torch.empty(len(pairs.query), dtype=torch.float64)
    step = max(1, _CHUNK // vectors.shape[1])
    for start in range(0, len(squares), step):
        part = slice(start, start + step)
        q = torch.from_numpy(queries)[pairs.query[part]]  # [n, D]
        g = torch.from_numpy(vectors[pairs.row[part].numpy()])  # [n, D]
        squares[part] = cosine_squares(q, g)
    keys = (pairs.row.numpy(), squares.numpy(), pairs.query.numpy())
    order = torch.from_numpy(np.lexsort(keys))
    query = pairs.query[order]
    first = torch.searchsorted(query, torch.arange(len(queries)))  # [Q]
    order = order[torch.arange(len(query)) - first[query] < k]
    return order, squares[order]
