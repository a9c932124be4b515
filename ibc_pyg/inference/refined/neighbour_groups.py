"""Selection of the neighbours that refine a descriptor, without labels."""

from __future__ import annotations

import torch
from torch import Tensor

from ibc_pyg.errors import RunError
from ibc_pyg.graph import k_reciprocal_groups
from ibc_pyg.graph.nearest import marked_first
from ibc_pyg.metrics import nearest_neighbours
from ibc_pyg.metrics.clustering import KMeansSettings, kmeans

K1 = 30
"""k1 of k-reciprocal neighbours, as in the released code."""

_ITERATIONS = 20
_CHUNK = 2**24  # similarities computed at once


def neighbours_for(
    vectors: Tensor,
    method: str,
    size: int,
    *,
    gallery: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Return the neighbours of each descriptor, without itself.

    - `knn`: the nearest neighbours.
    - `k_reciprocal`: the k-reciprocal neighbours, truncated, or filled up with the nearest
      neighbours (see `k_reciprocal_groups`).
    - `cluster`: the members of its k-means cluster, truncated to the nearest, or filled up with
      the nearest neighbours. Clusters have `size` members on average; the number of classes is
      not used.

    Args:
        vectors: Unit-norm float32 `[N, D]`, on the CPU.
        method: `knn`, `k_reciprocal` or `cluster`.
        size: Members of a neighbourhood including the descriptor itself, >= 2.
        gallery: Unit-norm float32 `[M, D]` that neighbours are selected from; None selects them
            from `vectors`, excluding each descriptor from its own neighbours by its row.
        seed: Seed of k-means.

    Returns:
        Rows of the gallery (or of `vectors`), int64 `[N, size - 1]`.

    Raises:
        RunError: If there are not enough images.
    """
    available = len(vectors) if gallery is None else len(gallery) + 1
    if size > available:
        raise RunError(
            f"evaluate.refine_size is {size}, but there are only {available} images to form a "
            "neighbourhood; lower it, or --refine-size of `evaluate`"
        )
    if method == "knn":
        return nearest_neighbours(vectors, gallery, k=size - 1).indices
    if method == "k_reciprocal":
        if gallery is None:
            return k_reciprocal_groups(vectors, size, K1)[:, 1:]  # [N, size - 1]
        return k_reciprocal_groups(vectors, size, K1, gallery=gallery)
    return _cluster(vectors, size - 1, gallery, size, seed)


def _cluster(vectors: Tensor, wanted: int, gallery: Tensor | None, size: int, seed: int) -> Tensor:
    pool = vectors if gallery is None else gallery  # [M, D]
    count = max(1, len(pool) // size)
    assigned, *_ = kmeans(pool, count, KMeansSettings(iterations=_ITERATIONS, seed=seed))
    cluster = torch.from_numpy(assigned)  # [M]
    own = cluster
    if gallery is not None:
        # A query is assigned to the nearest centre, as in k-means.
        own = _nearest_cluster(pool, cluster, count, vectors)  # [N]
    near = nearest_neighbours(vectors, gallery, k=wanted).indices  # [N, wanted]
    out = torch.empty_like(near)
    for number in range(count):
        members = torch.nonzero(cluster == number).flatten()  # [m]
        assigned_rows = torch.nonzero(own == number).flatten()  # [n]
        if not len(assigned_rows):
            continue
        for rows in torch.split(assigned_rows, max(1, _CHUNK // len(members))):
            similarity = vectors[rows] @ pool[members].T  # [n, m]
            others = len(members)
            if gallery is None:
                similarity[rows[:, None] == members] = -torch.inf
                others -= 1
            kept = similarity.topk(min(others, wanted)).indices  # [n, t]
            # Fill up with the nearest neighbours outside the cluster, in their order.
            outside = cluster[near[rows]] != number  # [n, wanted]
            fill = marked_first(near[rows], outside)[:, : wanted - kept.shape[1]]  # [n, wanted - t]
            out[rows] = torch.cat([members[kept], fill], dim=1)  # [n, wanted]
    return out


def _nearest_cluster(pool: Tensor, cluster: Tensor, count: int, vectors: Tensor) -> Tensor:
    """Return the cluster with the nearest centre for each vector, int64 `[N]`."""
    sums = torch.zeros(count, pool.shape[1]).index_add_(0, cluster, pool)  # [K, D]
    sizes = torch.bincount(cluster, minlength=count)  # [K]
    centres = sums[sizes > 0] / sizes[sizes > 0, None]  # [k, D]
    nearest = nearest_neighbours(vectors, centres, k=1, metric="euclidean").indices[:, 0]  # [N]
    return torch.nonzero(sizes > 0).flatten()[nearest]
