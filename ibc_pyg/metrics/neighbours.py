"""Exact nearest neighbours in chunks of matrix products."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from ibc_pyg.graph.nearest import chunk_rows, smallest
from ibc_pyg.graph.products import pair_products, plain_float32
from ibc_pyg.metrics.exact.similarity import Metric, Similarity, make_similarity
from ibc_pyg.metrics.inputs import Array, as_embeddings
from ibc_pyg.threads import map_in_threads, thread_count


@dataclass(frozen=True)
class Neighbours:
    """The nearest gallery items of every query, nearest first.

    Attributes:
        indices: `[Q, k]` int64, rows of the gallery.
        scores: `[Q, k]` float32, the cosine or the Euclidean distance.
    """

    indices: Tensor
    scores: Tensor


def nearest_neighbours(
    queries: Array,
    gallery: Array | None = None,
    k: int = 1,
    *,
    metric: Metric = "cosine",
    memory_budget: int = 2**30,
    device: torch.device | str | None = None,
    spare: int = 8,
) -> Neighbours:
    """Find the k nearest gallery items of every query, exactly.

    The order is that of exact arithmetic on the given numbers (see `Similarity`), the lower index
    first among equally close items; it does not depend on the memory budget, threads or the
    device. Without a gallery the queries search each other, each excluded from its own list by
    index.

    Args:
        queries: `[Q, D]`, numpy or torch, not necessarily normalised.
        gallery: `[N, D]` or None.
        k: Neighbours per query.
        metric: "cosine" (a zero vector has cosine 0 with all others) or "euclidean".
        memory_budget: Bytes that may be used beyond inputs, their float32 copies and the result.
        device: Device of the computation; None means that of the queries.
        spare: Items listed beyond k, to detect ties at the end of the list; no result depends on
            it.

    Returns:
        Indices and scores, `[Q, k]` each, on the device of the computation.

    Raises:
        ValueError: If values are NaN or infinite, shapes do not fit, a set is empty, the metric is
            unknown, or k is below 1 or larger than the gallery.
    """
    x = as_embeddings(queries, "queries", device=device)
    g = None if gallery is None else as_embeddings(gallery, "gallery", device=x.device)
    available = len(x) - 1 if g is None else len(g)
    if not 1 <= k <= available:
        raise ValueError(f"k is {k}, but a query has {available} gallery items to choose from")
    indices = torch.empty(len(x), k, dtype=torch.long, device=x.device)
    scores = torch.empty(len(x), k, dtype=torch.float32, device=x.device)
    with plain_float32():
        similarity = make_similarity(x, g, metric)
        listed = min(k + spare, available)
        budget = memory_budget // thread_count(x.device)
        rows = chunk_rows(len(similarity.gallery) + 6 * listed, budget)

        def search(start: int) -> None:
            query = torch.arange(start, min(start + rows, len(x)), device=x.device)  # [n]
            bound = pair_products(similarity.query_side(query), similarity.gallery)  # [n, N]
            if g is None:
                bound[query - start, query] = -torch.inf
            value, index = smallest(bound.neg_(), listed)  # [n, L]
            part = slice(start, start + len(query))
            indices[part], squares = _settle(similarity, query, -value, index, k, g is None)
            scores[part] = 1 - squares / 2 if metric == "cosine" else squares.sqrt()

        deque(map_in_threads(search, range(0, len(x), rows), x.device), maxlen=0)
    return Neighbours(indices, scores)


def _settle(
    similarity: Similarity, query: Tensor, bound: Tensor, index: Tensor, k: int, same_set: bool
) -> tuple[Tensor, Tensor]:
    """Order exactly whatever the float32 bound cannot separate.

    Args:
        similarity: Source of the exact measure.
        query: Rows of the queries `[n]`.
        bound: Float32 bound of the listed items `[n, L]`, closest first.
        index: Listed items `[n, L]`.
        k: Neighbours per query.
        same_set: Whether the queries are the gallery.

    Returns:
        Indices and squared distances, `[n, k]` each.
    """
    slack = 2.001 * similarity.tolerance[query, None].float()  # [n, 1]
    apart = bound[:, :-1] - bound[:, 1:] > slack  # [n, L - 1]
    run = torch.zeros_like(index)
    run[:, 1:] = apart.cumsum(1)  # [n, L]
    squares = bound.double() / -similarity.slope  # [n, L]
    undecided = torch.zeros_like(index, dtype=torch.bool)
    undecided[:, 1:] |= ~apart
    undecided[:, :-1] |= ~apart
    undecided &= run <= run[:, k - 1 : k]
    # For small distances the error of the bound is relatively large.
    undecided |= squares < 1e4 * similarity.tolerance[query, None] / similarity.slope
    row, column = torch.nonzero(undecided, as_tuple=True)
    squares[row, column] = -similarity.exact(query[row], index[row, column])
    # Sorted by the last key first: index, then distance, then run.
    order = index.argsort(dim=1)
    order = order.gather(1, squares.gather(1, order).argsort(dim=1, stable=True))
    order = order.gather(1, run.gather(1, order).argsort(dim=1, stable=True))
    out = index.gather(1, order)[:, :k]  # [n, k]
    squares = squares.gather(1, order)[:, :k].clamp(min=0)  # [n, k]
    if bound.shape[1] < len(similarity.gallery) - same_set:
        for i in torch.nonzero(run[:, -1] == run[:, k - 1]).flatten().tolist():
            out[i], squares[i] = _settle_row(
                similarity, query[i], float(bound[i, k - 1]), k, same_set
            )
    return out, squares.cummax(1).values


def _settle_row(
    similarity: Similarity, query: Tensor, kth: float, k: int, same_set: bool
) -> tuple[Tensor, Tensor]:
    """Order the neighbours of a query where more of them tie than are listed, `[k]` each."""
    bound = similarity.gallery @ similarity.query_side(query[None])[0]  # [N]
    close = bound >= kth - 2.001 * float(similarity.tolerance[query])  # [N]
    if same_set:
        close[query] = False
    index = torch.nonzero(close).flatten()  # [c]
    squares = -similarity.exact(query.expand(len(index)), index)  # [c]
    squares, order = squares.sort(stable=True)
    return index[order[:k]], squares[:k]
