"""The neighbours that refine a descriptor, found without labels."""

from __future__ import annotations

import torch
from torch import Tensor

from ibc_pyg.config import RefineMethod
from ibc_pyg.errors import RunError
from ibc_pyg.graph import k_reciprocal_groups
from ibc_pyg.graph.nearest import marked_first
from ibc_pyg.metrics import nearest_neighbours
from ibc_pyg.metrics.clustering import KMeansSettings, kmeans

K1 = 30
"""How many nearest neighbours count as mutual, as in the released code."""

_ITERATIONS = 20
_CHUNK = 2**24  # similarities at once


def neighbours_for(
    vectors: Tensor,
    method: RefineMethod,
    size: int,
    *,
    gallery: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Return who stands in the neighbourhood of each descriptor, besides itself.

    - `knn`: its nearest neighbours.
    - `k_reciprocal`: its k-reciprocal neighbours, cut or filled up with the nearest (see
      `k_reciprocal_groups`).
    - `cluster`: its k-means cluster, cut to the nearest or filled up with them. There are as many
      clusters as make `size` members each on average; the number of classes is not used.

    Args:
        vectors: Unit-norm float32 `[N, D]`, on the CPU.
        method: One of these three.
        size: Members of a neighbourhood with itself, >= 2.
        gallery: Unit-norm float32 `[M, D]` that neighbours are taken from; None takes them from
            `vectors`, each left out of its own neighbours by its row.
        seed: Of k-means.

    Returns:
        Rows of the gallery (or of `vectors`), int64 `[N, size - 1]`.

    Raises:
        RunError: If there are not enough images.
    """
    available = len(vectors) if gallery is None else len(gallery) + 1
    if size > available:
        raise RunError(
            f"evaluate.refine_size is {size}, but a neighbourhood can have {available} images at "
            "most here; lower it, or --refine-size of `evaluate`"
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
    assigned, _ = kmeans(pool, count, KMeansSettings(iterations=_ITERATIONS, seed=seed))
    cluster = torch.from_numpy(assigned)  # [M]
    own = cluster
    if gallery is not None:
        # A query belongs to the nearest centre, as it would have in k-means.
        own = _nearest_cluster(pool, cluster, count, vectors)  # [N]
    near = nearest_neighbours(vectors, gallery, k=wanted).indices  # [N, wanted]
    out = torch.empty_like(near)
    for number in range(count):
        members = torch.nonzero(cluster == number).flatten()  # [m]
        mine = torch.nonzero(own == number).flatten()  # [n]
        if not len(mine):
            continue
        for rows in torch.split(mine, max(1, _CHUNK // len(members))):
            similarity = vectors[rows] @ pool[members].T  # [n, m]
            others = len(members)
            if gallery is None:
                similarity[rows[:, None] == members] = -torch.inf
                others -= 1
            kept = similarity.topk(min(others, wanted)).indices  # [n, t]
            # Fill-ups are the nearest that are not in the cluster; their order stays.
            outside = cluster[near[rows]] != number  # [n, wanted]
            fill = marked_first(near[rows], outside)[:, : wanted - kept.shape[1]]  # [n, wanted - t]
            out[rows] = torch.cat([members[kept], fill], dim=1)  # [n, wanted]
    return out


def _nearest_cluster(pool: Tensor, cluster: Tensor, count: int, vectors: Tensor) -> Tensor:
    """Return the cluster whose centre is nearest to each vector, int64 `[N]`."""
    sums = torch.zeros(count, pool.shape[1]).index_add_(0, cluster, pool)  # [K, D]
    sizes = torch.bincount(cluster, minlength=count)  # [K]
    centres = sums[sizes > 0] / sizes[sizes > 0, None]  # [k, D]
    nearest = nearest_neighbours(vectors, centres, k=1, metric="euclidean").indices[:, 0]  # [N]
    return torch.nonzero(sizes > 0).flatten()[nearest]
