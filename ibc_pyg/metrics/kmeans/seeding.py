"""First centroids for k-means: k-means++ and local search.

scikit-learn's `kmeans_plusplus` computes one matrix product per centroid, which takes 14 to 34
times as long, and has no local search.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ibc_pyg.graph.products import pair_products, prepared

# Candidates per round, measured against all points in one matrix product.
_BATCH = 16


def seed_centroids(x: Tensor, k: int, swaps: int, generator: torch.Generator) -> Tensor:
    """Choose k points as first centroids.

    k-means++ draws each next point with a probability proportional to its squared distance from
    the points drawn so far (Arthur and Vassilvitskii 2007). Candidates are drawn in batches and
    each is accepted with the ratio of its current distance to its distance when drawn, which gives
    the same distribution. Then `swaps` rounds of local search draw candidates in the same way and
    make the swap of one of them with a centroid that lowers the cost most (Lattanzi and Sohler
    2019, http://proceedings.mlr.press/v97/lattanzi19a.html).

    Args:
        x: Float32 `[N, D]` on the CPU, N >= k.
        k: Number of centroids.
        swaps: Rounds of local search.
        generator: Source of all draws.

    Returns:
        Rows of `x`, int64 `[k]`, all different unless fewer than k points differ.
    """
    points = _Points(x, prepared(x), x.square().sum(1))
    chosen = _draw(points, k, generator)
    if swaps > 0 and 1 < k < len(x):
        chosen = _swap(points, chosen, swaps, generator)
    return chosen


@dataclass(frozen=True)
class _Points:
    """Points, ready for products with candidates.

    Attributes:
        x: `[N, D]`.
        prepared: The same in the layout for products.
        square: Squared lengths, `[N]`.
    """

    x: Tensor
    prepared: Tensor
    square: Tensor

    def distances(self, rows: Tensor) -> Tensor:
        """Return the squared distances of all points to some of them, `[N, B]`."""
        products = pair_products(self.prepared, self.x[rows])  # [N, B]
        out = products.mul_(-2).add_(self.square[:, None]).add_(self.square[rows])
        return out.clamp_(min=0)


def _draw(points: _Points, k: int, generator: torch.Generator) -> Tensor:
    count = len(points.x)
    chosen = torch.randint(count, (1,), generator=generator)  # [1]
    nearest = points.distances(chosen)[:, 0]  # [N]
    nearest[chosen] = 0
    while len(chosen) < k:
        total = nearest.sum(dtype=torch.float64)
        if total <= 0:  # every point is a copy of a centroid
            rest = torch.ones(count)
            rest[chosen] = 0
            extra = torch.multinomial(rest, k - len(chosen), generator=generator)
            return torch.cat([chosen, extra])
        candidates = _sample(nearest, _BATCH, generator)  # [B]
        distance = points.distances(candidates)  # [N, B]
        among = distance[candidates]  # [B, B]
        now = nearest[candidates].clone()  # [B]
        keep: list[int] = []
        luck = torch.rand(_BATCH, generator=generator)
        for b in range(min(_BATCH, len(candidates))):
            if len(chosen) + len(keep) == k:
                break
            if luck[b] * nearest[candidates[b]] < now[b] and candidates[b] not in candidates[keep]:
                keep.append(b)
                now = torch.minimum(now, among[b])
        chosen = torch.cat([chosen, candidates[keep]])
        nearest = torch.minimum(nearest, distance[:, keep].amin(1))  # [N]
        nearest[chosen] = 0
    return chosen


def _sample(weight: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` rows with replacement, in proportion to the weights `[N]`."""
    cumulative = weight.double().cumsum(0)  # [N]
    at = torch.rand(count, generator=generator, dtype=torch.float64) * cumulative[-1]
    return torch.searchsorted(cumulative, at, right=True).clamp(max=len(weight) - 1)


def _swap(points: _Points, chosen: Tensor, rounds: int, generator: torch.Generator) -> Tensor:
    k, every = len(chosen), torch.arange(len(points.x))
    first, second, owner, runner = _two_nearest(points, every, chosen)
    for _ in range(rounds):
        candidates = _sample(first, _BATCH, generator)  # [B]
        distance = points.distances(candidates)  # [N, B]
        with_both = torch.minimum(distance, first[:, None])  # [N, B]
        without = torch.minimum(distance, second[:, None]).sub_(with_both)  # [N, B]
        loss = torch.zeros(k, _BATCH).index_add_(0, owner, without)  # [k, B]
        cost = loss + with_both.sum(0)  # [k, B]
        best = int(cost.argmin())
        if cost.view(-1)[best] >= first.sum() * (1 - 1e-6):
            continue
        out, into = divmod(best, _BATCH)
        chosen[out] = candidates[into]
        stale = torch.nonzero((owner == out) | (runner == out)).flatten()  # [n]
        first[stale], second[stale], owner[stale], runner[stale] = _two_nearest(
            points, stale, chosen
        )
        new = distance[:, into]  # [N]
        fresh = torch.ones(len(new), dtype=torch.bool)
        fresh[stale] = False
        closest = fresh & (new < first)
        second = torch.where(closest, first, second)
        runner = torch.where(closest, owner, runner)
        first = torch.where(closest, new, first)
        owner = torch.where(closest, out, owner)
        middle = fresh & ~closest & (new < second)
        second = torch.where(middle, new, second)
        runner = torch.where(middle, out, runner)
    return chosen


def _two_nearest(
    points: _Points, rows: Tensor, chosen: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return squared distances of points to the two nearest centroids, and their numbers.

    Args:
        points: All points.
        rows: The points that are asked about, `[n]`.
        chosen: Points that are centroids, `[k]`.

    Returns:
        Four tensors `[n]`.
    """
    c = prepared(points.x[chosen])  # [k, D]
    value = torch.empty(len(rows), 2)
    index = torch.empty(len(rows), 2, dtype=torch.long)
    for start in range(0, len(rows), 4096):
        part = slice(start, start + 4096)
        products = pair_products(points.x[rows[part]], c)  # [n, k]
        top = products.mul_(-2).add_(points.square[chosen]).topk(2, largest=False)
        value[part], index[part] = top.values, top.indices
    value = value.add_(points.square[rows, None]).clamp_(min=0)
    return value[:, 0], value[:, 1], index[:, 0], index[:, 1]
