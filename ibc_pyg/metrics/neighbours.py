"""Exact nearest neighbours in chunks of matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ibc_pyg.graph.products import pair_products
from ibc_pyg.metrics.exact.similarity import Metric, Space, make_space, plain_float32
from ibc_pyg.metrics.inputs import Array, as_embeddings

# How many more than k are kept, to see whether what follows the k-th is as close as it.
_SPARE = 8


@dataclass(frozen=True)
class Neighbours:
    """The nearest gallery items of every query, nearest first.

    Attributes:
        indices: [Q, k] int64, rows of the gallery.
        scores: [Q, k] float32: the cosine, or the Euclidean distance.
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
) -> Neighbours:
    """Find the k nearest gallery items of every query, exactly.

    The order is that of exact arithmetic on the given numbers (see `Space`), the lower index first
    among items that are equally close; it does not depend on the memory budget, on threads or on
    the device. Without a gallery the queries are searched among themselves, each left out of its
    own list by index.

    Args:
        queries: [Q, D], numpy or torch; need not be normalised.
        gallery: [N, D] or None.
        k: neighbours per query.
        metric: "cosine" (a zero vector has cosine 0 with all others) or "euclidean".
        memory_budget: bytes that may be used beyond inputs, their float32 copies and the result.
        device: where to compute; None means where the queries are.

    Returns:
        Indices and scores, [Q, k] each, on the device of the computation.

    Raises:
        ValueError: NaN or infinite values, shapes that do not fit, an empty set, an unknown
            metric, or a k that is below 1 or more than the gallery has to offer.
    """
    x = as_embeddings(queries, "queries", device=device)
    g = None if gallery is None else as_embeddings(gallery, "gallery", device=x.device)
    available = len(x) - 1 if g is None else len(g)
    if not 1 <= k <= available:
        raise ValueError(f"k is {k}, but a query has {available} gallery items to choose from")
    indices = torch.empty(len(x), k, dtype=torch.long, device=x.device)
    scores = torch.empty(len(x), k, dtype=torch.float32, device=x.device)
    with plain_float32():
        space = make_space(x, g, metric)
        keep = min(k + _SPARE, available)
        columns = min(len(space.gallery), max(4096, 4 * keep))
        rows = min(512, max(1, memory_budget // (16 * columns + 100 * keep)))
        for start in range(0, len(x), rows):
            query = torch.arange(start, min(start + rows, len(x)), device=x.device)  # [n]
            screen, index = _best(space, query, keep, columns, g is None)
            part = slice(start, start + len(query))
            indices[part], squares = _settle(space, query, screen, index, k, g is None)
            scores[part] = 1 - squares / 2 if metric == "cosine" else squares.sqrt()
    return Neighbours(indices, scores)


def _best(
    space: Space, query: Tensor, keep: int, columns: int, same_set: bool
) -> tuple[Tensor, Tensor]:
    """List the closest by the screen, closest first: values and indices [n, keep]."""
    n, total = len(query), len(space.gallery)
    vectors = space.left(query)  # [n, D + 2]
    screen = torch.empty(n, 0, device=query.device)
    index = torch.empty(n, 0, dtype=torch.long, device=query.device)
    for begin in range(0, total, columns):
        end = min(total, begin + columns)
        part = pair_products(vectors, space.gallery[begin:end])  # [n, end - begin]
        if same_set:
            own = torch.nonzero((query >= begin) & (query < end)).flatten()
            part[own, query[own] - begin] = -torch.inf
        value, place = part.topk(min(keep, end - begin), sorted=False)  # [n, keep]
        screen = torch.cat([screen, value], 1)
        index = torch.cat([index, place + begin], 1)
        if screen.shape[1] > keep or end == total:
            screen, place = screen.topk(min(keep, screen.shape[1]))  # [n, keep]
            index = index.gather(1, place)
    return screen, index


def _settle(
    space: Space, query: Tensor, screen: Tensor, index: Tensor, k: int, same_set: bool
) -> tuple[Tensor, Tensor]:
    """Put what the screen cannot tell apart into exact order: indices and squared distances."""
    slack = 2.001 * space.tolerance[query, None].float()  # [n, 1]
    apart = screen[:, :-1] - screen[:, 1:] > slack  # [n, keep - 1]
    run = torch.zeros_like(index)
    run[:, 1:] = apart.cumsum(1)  # [n, keep]
    squares = screen.double() / -space.slope  # [n, keep]
    unsure = torch.zeros_like(index, dtype=torch.bool)
    unsure[:, 1:] |= ~apart
    unsure[:, :-1] |= ~apart
    unsure &= run <= run[:, k - 1 : k]
    # Where distances are small, the screen's error is large beside them.
    unsure |= squares < 1e4 * space.tolerance[query, None] / space.slope
    row, column = torch.nonzero(unsure, as_tuple=True)
    squares[row, column] = -space.exact(query[row], index[row, column])
    # Sorted by the last key first: index, then distance, then run.
    order = index.argsort(dim=1)
    order = order.gather(1, squares.gather(1, order).argsort(dim=1, stable=True))
    order = order.gather(1, run.gather(1, order).argsort(dim=1, stable=True))
    index, squares = index.gather(1, order)[:, :k], squares.gather(1, order)[:, :k].clamp(min=0)
    if screen.shape[1] < len(space.gallery) - same_set:
        for i in torch.nonzero(run[:, -1] == run[:, k - 1]).flatten().tolist():
            index[i], squares[i] = _settle_row(
                space, query[i], float(screen[i, k - 1]), k, same_set
            )
    return index, squares.cummax(1).values


def _settle_row(
    space: Space, query: Tensor, kth: float, k: int, same_set: bool
) -> tuple[Tensor, Tensor]:
    """Order a query's neighbours where more of them tie than are listed: [k] and [k]."""
    screen = space.gallery @ space.left(query[None])[0]  # [N]
    close = screen >= kth - 2.001 * float(space.tolerance[query])  # [N]
    if same_set:
        close[query] = False
    index = torch.nonzero(close).flatten()  # [c]
    squares = -space.exact(query.expand(len(index)), index)  # [c]
    squares, order = squares.sort(stable=True)
    return index[order[:k]], squares[:k]
