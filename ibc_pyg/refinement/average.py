"""Weighted averages of nearest neighbours: query expansion, database-side augmentation.

Chum et al. 2007 (https://www.robots.ox.ac.uk/~vgg/publications/2007/Chum07b/) average the first
hits of a query into it; Radenovic et al. 2018 (https://arxiv.org/abs/1711.02512, alpha-QE) weigh
each by its cosine to a power; Arandjelovic and Zisserman 2012
(https://doi.org/10.1109/CVPR.2012.6248018) do the same with the database.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ibc_pyg.metrics import Neighbours
from ibc_pyg.refinement.neighbours import neighbours

_CHUNK = 2**24
"""Numbers that are gathered at once."""


def average(x: Tensor, pool: Tensor, near: Neighbours, power: float) -> Tensor:
    """Add to each descriptor its neighbours, weighted by their cosines.

    Args:
        x: Unit-norm float32 `[N, D]`.
        pool: Unit-norm float32 `[M, D]`.
        near: Neighbours in the pool, `[N, k]`; a negative cosine has weight 0.
        power: Exponent of the cosine.

    Returns:
        normalised x + sum of cos^power x_j, float32 `[N, D]`.
    """
    out = torch.empty_like(x)
    weights = near.scores.clamp(min=0).pow(power) * (near.scores > 0)  # [N, k]
    step = max(1, _CHUNK // max(1, near.indices.shape[1] * x.shape[1]))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        others = pool[near.indices[rows]]  # [n, k, D]
        out[rows] = x[rows] + torch.einsum("nk,nkd->nd", weights[rows], others)  # [n, D]
    return F.normalize(out, dim=1)


def expand(
    queries: Tensor, gallery: Tensor, k: int, power: float, rounds: int, *, same: bool
) -> Tensor:
    """Average queries with their neighbours in a gallery, which stays as it is (AQE, alpha-QE).

    Args:
        queries: Unit-norm float32 `[Q, D]`.
        gallery: Unit-norm float32 `[N, D]`.
        k: Neighbours.
        power: Exponent of the cosine as a weight; 0 for the plain average.
        rounds: Repetitions.
        same: Whether query i is gallery item i, which is not its own neighbour.

    Returns:
        Unit-norm float32 `[Q, D]`; each row depends on its own query and the gallery alone.
    """
    x = queries
    for _ in range(rounds):
        x = average(x, gallery, neighbours(x, gallery, k, same=same), power)  # [Q, D]
    return x


def augment(
    queries: Tensor, gallery: Tensor | None, k: int, power: float, rounds: int
) -> tuple[Tensor, Tensor | None]:
    """Average the gallery with its own neighbours, and queries with theirs in the gallery (DBA).

    Args:
        queries: Unit-norm float32 `[Q, D]`.
        gallery: Unit-norm float32 `[N, D]`; None: the queries are the gallery.
        k: Neighbours.
        power: Exponent of the cosine as a weight.
        rounds: Repetitions; in each, neighbours are looked for in the gallery of the last one.

    Returns:
        Both, at unit norm; a query depends on the gallery and itself alone.
    """
    for _ in range(rounds):
        pool = queries if gallery is None else gallery
        queries = average(queries, pool, neighbours(queries, gallery, k), power)  # [Q, D]
        if gallery is not None:
            gallery = average(gallery, gallery, neighbours(gallery, None, k), power)  # [N, D]
    return queries, gallery
