"""Moves of single points between clusters, which go on where Lloyd's iterations have converged."""

from __future__ import annotations

import torch
from torch import Tensor

from ibc_pyg.graph.products import pair_products, prepared

_BLOCKS = 20
_FEW = 1e-3
"""Share of the points that may still move at the end."""


def exchange(
    x: Tensor, assigned: Tensor, k: int, passes: int, generator: torch.Generator
) -> Tensor:
    """Move points to other clusters wherever this lowers the sum of squared distances.

    Without a point x of its n points, a centroid moves away from x, so that the move from cluster
    a to b changes the sum by n_b / (n_b + 1) |x - c_b|^2 - n_a / (n_a - 1) |x - c_a|^2 (Hartigan
    1975; Telgarsky and Vattani 2010, http://proceedings.mlr.press/v9/telgarsky10a.html). Lloyd's
    iterations leave out both factors: with few, scattered points per cluster each holds its own
    centroid in place, and they end early. Points are visited in blocks of a random order; moves in
    one block do not see each other.

    Args:
        x: Float32 `[N, D]` on the CPU, centred.
        assigned: Cluster of every point, int64 `[N]`.
        k: Number of clusters.
        passes: Most passes over all points; they end when at most one in a thousand moves.
        generator: Source of the order.

    Returns:
        The new clusters, int64 `[N]`. No cluster loses its last point, and none that is empty gets
        one.
    """
    order = torch.randperm(len(x), generator=generator)
    points, cluster = x[order], assigned[order]  # [N, D], [N]
    square = points.square().sum(1)  # [N]
    counts = torch.bincount(cluster, minlength=k).float()  # [k]
    sums = torch.zeros(k, x.shape[1]).index_add_(0, cluster, points)  # [k, D]
    step = -(-len(x) // _BLOCKS)
    blocks = [slice(start, start + step) for start in range(0, len(x), step)]
    fixed = [prepared(points[block]) for block in blocks]
    for _ in range(passes):
        moved = 0
        for block, left in zip(blocks, fixed, strict=True):
            own = cluster[block]  # [n]
            centroids = sums / counts.clamp(min=1)[:, None]  # [k, D]
            distance = pair_products(left, centroids).mul_(-2)  # [n, k]
            distance += centroids.square().sum(1)
            distance = distance.add_(square[block, None]).clamp_(min=0)
            stay = distance.gather(1, own[:, None]).squeeze(1)  # [n]
            stay = torch.where(counts[own] > 1, stay * counts[own] / (counts[own] - 1), 0)
            distance *= torch.where(counts > 0, counts / (counts + 1), torch.inf)
            least, best = distance.scatter_(1, own[:, None], torch.inf).min(1)  # [n]
            # Equal sums, of copies of a point, would be exchanged forever.
            move = torch.nonzero(least < stay * (1 - 1e-6)).flatten()
            move = move[~_last(own[move], counts)]
            source, target, part = own[move], best[move], points[block][move]
            sums.index_add_(0, source, part, alpha=-1).index_add_(0, target, part)
            counts += torch.bincount(target, minlength=k) - torch.bincount(source, minlength=k)
            own[move] = target
            moved += len(move)
        if moved <= _FEW * len(x):
            break
    return torch.empty_like(assigned).index_copy_(0, order, cluster)


def _last(source: Tensor, counts: Tensor) -> Tensor:
    """Mark one point of each cluster that all its points would leave, bool `[n]`."""
    emptied = torch.bincount(source, minlength=len(counts)) >= counts  # [k]
    place = torch.arange(len(source))
    first = torch.full((len(counts),), len(source)).scatter_reduce(0, source, place, "amin")  # [k]
    return emptied[source] & (first[source] == place)


def mean_square(x: Tensor, assigned: Tensor, k: int) -> float:
    """Return the mean squared distance of points `[N, D]` to the centroids of their clusters."""
    sums = torch.zeros(k, x.shape[1], dtype=torch.float64).index_add_(0, assigned, x.double())
    counts = torch.bincount(assigned, minlength=k).clamp(min=1)  # [k]
    # The spread within a cluster is that of all its points without that of its centroid.
    between = (sums.square().sum(1) / counts).sum()
    return float((x.double().square().sum() - between).clamp(min=0) / len(x))
