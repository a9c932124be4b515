"""Nearest rows of a matrix, in chunks of matrix products."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from ibc_pyg.graph.products import pair_products
from ibc_pyg.threads import map_in_threads, thread_count


def nearest(
    x: Tensor, g: Tensor, k: int, *, itself: bool = False, memory_budget: int = 2**30
) -> tuple[Tensor, Tensor]:
    """Find the k nearest rows of g for every row of x, or all rows if there are fewer.

    Args:
        x: Float32 `[N, D]`.
        g: Float32 `[M, D]`.
        k: Length of the lists.
        itself: Whether x is g and every row comes first in its own list.
        memory_budget: Bytes for a chunk.

    Returns:
        Indices and squared distances, `[N, min(k, M)]` each, ascending, lower rows first in ties.
    """
    k = min(k, len(g))
    indices = torch.empty(len(x), k, dtype=torch.long, device=x.device)
    distances = torch.empty(len(x), k, dtype=x.dtype, device=x.device)
    square = g.square().sum(1)  # [M]
    rows = chunk_rows(len(g), memory_budget // thread_count(x.device))

    def search(start: int) -> None:
        q = x[start : start + rows]
        # Squared distances without the query's own square.
        d = pair_products(q, g).mul_(-2).add_(square)  # [n, M]
        if itself:
            own = torch.arange(len(q), device=x.device)
            d[own, own + start] = -torch.inf
        value, index = smallest(d, k)  # [n, k]
        indices[start : start + rows] = index
        distances[start : start + rows] = value + q.square().sum(1, keepdim=True)

    deque(map_in_threads(search, range(0, len(x), rows), x.device), maxlen=0)
    return indices, distances


def chunk_rows(columns: int, memory_budget: int) -> int:
    """Return how many rows of `columns` float32 products to take at a time."""
    # Few rows: their products are still in the cache when they are searched.
    return max(1, min(256, memory_budget // (16 * columns)))


def smallest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k smallest values of every row, the lower column first among equal ones.

    Args:
        values: `[n, M]`.
        k: At most M.

    Returns:
        Values and columns, `[n, k]` each, ascending.
    """
    spare = min(k + 1, values.shape[1])
    value, index = values.topk(spare, largest=False)  # [n, k + 1]
    index, order = index.sort(dim=1)
    value, again = value.gather(1, order).sort(dim=1, stable=True)
    index = index.gather(1, again)
    if spare > k:
        # topk may take any of the values that tie at the end of the list.
        tied = torch.nonzero(value[:, -1] == value[:, k - 1]).flatten()
        if len(tied) > 0:
            value[tied], index[tied] = (
                part[:, :spare] for part in values[tied].sort(dim=1, stable=True)
            )
    return value[:, :k], index[:, :k]


def marked_first(lists: Tensor, marked: Tensor) -> Tensor:
    """Move the marked entries of every list to its front and keep the order otherwise.

    Args:
        lists: `[n, L]`.
        marked: Bool `[n, L]`.

    Returns:
        `[n, L]`.
    """
    order = (~marked).to(torch.uint8).sort(dim=1, stable=True).indices  # [n, L]
    return lists.gather(1, order)
