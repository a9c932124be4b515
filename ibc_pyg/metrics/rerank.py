"""k-reciprocal re-ranking."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from ibc_pyg.graph.k_reciprocal import expanded_sets, reciprocal_lists
from ibc_pyg.graph.nearest import smallest
from ibc_pyg.graph.products import pair_products, plain_float32
from ibc_pyg.metrics.exact.similarity import Metric, Similarity, make_similarity
from ibc_pyg.metrics.inputs import Array, as_embeddings
from ibc_pyg.metrics.neighbours import Neighbours

Floats = NDArray[np.float64]


def k_reciprocal_rerank(
    queries: Array,
    gallery: Array | None = None,
    k: int = 1,
    *,
    k1: int = 20,
    k2: int = 6,
    original_weight: float = 0.3,
    metric: Metric = "cosine",
    memory_budget: int = 2**30,
) -> Neighbours:
    """Find the k nearest gallery items by the k-reciprocal distance.

    Every sample is described by its k-reciprocal neighbours, weighted by their closeness and
    averaged over its `k2` nearest. The Jaccard distance of two descriptions is mixed with the
    original squared distance, relative to the largest from the query. As in the paper, queries and
    gallery are pooled, so the list of one query depends on the others. Source: Zhong et al., CVPR
    2017, https://arxiv.org/abs/1701.08398, with its defaults.

    Args:
        queries: `[Q, D]`, numpy or torch, not necessarily normalised.
        gallery: `[N, D]`, or None to search the queries among themselves, each excluded from its
            own list by index.
        k: Neighbours per query.
        k1: Nearest neighbours among which two samples count as reciprocal.
        k2: Descriptions that are averaged; 1 for none.
        original_weight: Weight of the original distance, in [0, 1].
        metric: "cosine" or "euclidean".
        memory_budget: Bytes for chunks, beyond the inputs and the sparse descriptions (about 2 KB
            per sample).

    Returns:
        Indices `[Q, k]` and re-ranked distances `[Q, k]`, ascending, on the CPU.

    Raises:
        ValueError: If values are NaN or infinite, shapes do not fit, or an argument is out of
            range.
    """
    x = as_embeddings(queries, "queries", device="cpu")
    g = None if gallery is None else as_embeddings(gallery, "gallery", device="cpu")
    available = len(x) - 1 if g is None else len(g)
    if not 1 <= k <= available:
        raise ValueError(f"k is {k}, but a query has {available} gallery items to choose from")
    if k1 < 1 or k2 < 1:
        raise ValueError(f"k1 and k2 must be at least 1, got {k1} and {k2}")
    if not 0 <= original_weight <= 1:
        raise ValueError(f"original_weight is {original_weight}, expected 0 to 1")
    if g is not None and g.shape[1] != x.shape[1]:
        raise ValueError(f"gallery has {g.shape[1]} dimensions, queries have {x.shape[1]}")
    pool = x if g is None else torch.cat([x.double(), g.double()])
    with plain_float32():
        similarity = make_similarity(pool, None, metric)
        described = _describe(similarity, k1, k2, memory_budget)
        indices = torch.empty(len(x), k, dtype=torch.long)
        scores = torch.empty(len(x), k, dtype=torch.float32)
        by_column = described.tocsc()
        step = max(1, min(256, memory_budget // (80 * len(pool))))
        for start in range(0, len(x), step):
            rows = torch.arange(start, min(start + step, len(x)))
            overlap = _overlap(described, by_column, start, len(rows), memory_budget // 4)
            distance = (1 - original_weight) * (1 - overlap / (2 - overlap))
            distance += original_weight * _relative(similarity, rows).numpy()  # [n, P]
            if g is None:
                distance[np.arange(len(rows)), rows.numpy()] = np.inf
            else:
                distance = distance[:, len(x) :]  # [n, N], the gallery's part of the pool
            value, indices[rows] = smallest(torch.from_numpy(distance), k)  # [n, k]
            scores[rows] = value.float()
    return Neighbours(indices, scores)


def _relative(similarity: Similarity, rows: Tensor) -> Tensor:
    """Return squared distances relative to the largest of each row, float64 `[n, N]`."""
    bound = pair_products(similarity.query_side(rows), similarity.gallery)  # [n, N]
    squares = bound.double() / -similarity.slope  # [n, N]
    squares.clamp_(min=0)[torch.arange(len(rows)), rows] = 0
    largest = squares.amax(1, keepdim=True)  # [n, 1]
    return squares / torch.where(largest > 0, largest, 1)


def _describe(similarity: Similarity, k1: int, k2: int, memory_budget: int) -> sparse.csr_array:
    """Return the weights of the k-reciprocal neighbours of every sample, sparse `[N, N]`."""
    count = len(similarity.gallery)
    lists = reciprocal_lists(
        similarity.gallery[:, :-2].contiguous(), k1, max(k1 + 1, k2), memory_budget // 2
    )
    rows, columns, weights = [], [], []
    room = min(memory_budget // 4, 32 * count * 256)
    for part, member in expanded_sets(lists, lists, room):
        first = part.start
        row, column = torch.nonzero(member, as_tuple=True)
        for begin in range(0, len(member), max(1, room // (32 * count))):
            chunk = torch.arange(begin, min(len(member), begin + max(1, room // (32 * count))))
            distance = _relative(similarity, chunk + first)  # [n, N]
            inside = (row >= chunk[0]) & (row <= chunk[-1])
            weights.append(torch.exp(-distance[row[inside] - begin, column[inside]]).numpy())
        rows.append((row + first).numpy())
        columns.append(column.numpy())
    matrix = sparse.csr_array(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))),
        shape=(count, count),
    )
    total = np.asarray(matrix.sum(axis=1)).ravel()  # [N]
    matrix.data /= np.repeat(total, np.diff(matrix.indptr))
    if k2 == 1:
        return matrix
    near = lists.near[:, :k2].numpy()  # [N, k2]
    mean = sparse.csr_array(
        (
            np.full(near.size, 1 / near.shape[1]),
            near.ravel(),
            np.arange(0, near.size + 1, near.shape[1]),
        ),
        shape=(count, count),
    )
    return sparse.csr_array(mean @ matrix)


def _overlap(
    described: sparse.csr_array, by_column: sparse.csc_array, start: int, n: int, room: int
) -> Floats:
    """Sum the smaller of the weights of two samples over all neighbours, `[n, N]`."""
    count = described.shape[1]
    out = np.zeros(n * count)
    first, last = described.indptr[start], described.indptr[start + n]
    column = described.indices[first:last]  # [E]
    row = np.repeat(np.arange(n), np.diff(described.indptr[start : start + n + 1]))
    weight = described.data[first:last]
    length = np.diff(by_column.indptr)[column]  # [E] number of samples that share the neighbour
    ends = np.cumsum(length)
    at = 0
    while at < len(column):
        done = ends[at - 1] if at else 0
        to = max(at + 1, int(np.searchsorted(ends, done + room // 48, side="right")))
        repeat = length[at:to]
        entry = np.repeat(np.arange(at, to), repeat)  # [T]
        place = np.arange(len(entry)) - np.repeat(np.cumsum(repeat) - repeat, repeat)
        place += by_column.indptr[column[entry]]
        smaller = np.minimum(weight[entry], by_column.data[place])
        np.add.at(out, row[entry] * count + by_column.indices[place], smaller)
        at = to
    return out.reshape(n, count)
