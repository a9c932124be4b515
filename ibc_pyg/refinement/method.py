"""One interface of all methods: descriptors in, descriptors or lists out.

`aqe`, `dba` and `diffusion` look at the gallery and one query: its answer does not depend on other
queries. `gcr`, `gnn` and `k_reciprocal` pool queries and gallery, as their papers do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor

from ibc_pyg.graph.nearest import smallest
from ibc_pyg.metrics import k_reciprocal_rerank
from ibc_pyg.metrics.inputs import Array
from ibc_pyg.refinement.average import augment, expand
from ibc_pyg.refinement.diffusion import diffuse, seeds
from ibc_pyg.refinement.gcr import convolve
from ibc_pyg.refinement.gnn import neighbour_features
from ibc_pyg.refinement.neighbours import unit
from ibc_pyg.refinement.parameters import Parameters
from ibc_pyg.refinement.sparse_graph import blocks

LEAST_SHARE = 1e-4
"""Share of the cosine in a score, so that items that nothing reaches keep their order."""


@dataclass(frozen=True)
class Refined:
    """Refined descriptors, float32.

    Attributes:
        queries: `[Q, D']`.
        gallery: `[N, D']`; None: the queries search each other.
        same: Whether query i is gallery item i, which is left out of its list.
    """

    queries: Tensor
    gallery: Tensor | None
    same: bool = False


def refine_vectors(
    method: str, queries: Array, gallery: Array | None, parameters: Parameters
) -> Refined:
    """Refine descriptors by `aqe`, `dba` or `gcr`.

    Args:
        method: Name.
        queries: `[Q, D]`, of any norm.
        gallery: `[N, D]`; None: the queries are the gallery.
        parameters: See `parameters_of`.

    Returns:
        Unit-norm descriptors [sqrt(share) x, sqrt(1 - share) refined] of both, whose cosine is the
        mean of both cosines. `aqe` leaves the gallery as it is.

    Raises:
        ValueError: If values are not finite or shapes do not fit.
    """
    x = unit(queries, "queries")  # [Q, D]
    g = None if gallery is None else unit(gallery, "gallery")  # [N, D]
    p = parameters
    if p.share == 1:
        return Refined(x, g)
    if method == "aqe":
        searched = x if g is None else g
        expanded = expand(x, searched, p.k, p.power, p.rounds, same=g is None)  # [Q, D]
        # The gallery is the same in both halves: the sum of the halves is enough.
        x = F.normalize(p.share * x + (1 - p.share) * expanded, dim=1)  # [Q, D]
        return Refined(x, searched, same=g is None)
    pool: Tensor | None
    if method == "dba":
        refined, pool = augment(x, g, p.k, p.power, p.rounds)
    else:
        both = convolve(x if g is None else torch.cat([x, g]), p.k, p.power, p.rounds)
        refined, pool = both[: len(x)], both[len(x) :]  # [Q, D], [N, D]
    if g is None or pool is None:
        return Refined(mixed(x, refined, p.share), None)
    return Refined(mixed(x, refined, p.share), mixed(g, pool, p.share))


def mixed(x: Tensor, refined: Tensor, share: float) -> Tensor:
    """Return descriptors whose cosine is the mean of two cosines.

    Args:
        x: Unit-norm `[N, D]`.
        refined: Unit-norm `[N, D']`.
        share: Weight of the first cosine, in [0, 1].

    Returns:
        `[N, D']` for share 0, `[N, D]` for share 1, else `[N, D + D']`.
    """
    if share in (0, 1):
        return x if share else refined
    return torch.cat([share**0.5 * x, (1 - share) ** 0.5 * refined], 1)  # [N, D + D']


def rerank(
    method: str, queries: Array, gallery: Array | None, k: int, parameters: Parameters
) -> Tensor:
    """Find the best gallery items by `diffusion`, `gnn` or `k_reciprocal`.

    The score of `diffusion` and `gnn`, at most 1, is averaged with the cosine by `share`, at least
    1e-4 of it.

    Args:
        method: Name.
        queries: `[Q, D]`, of any norm.
        gallery: `[N, D]`; None: the queries are the gallery, each without itself.
        k: Items per query.
        parameters: See `parameters_of`.

    Returns:
        Rows of the gallery, best first, int64 `[Q, k]`.

    Raises:
        ValueError: If values are not finite, shapes do not fit or k is out of range.
    """
    x = unit(queries, "queries")  # [Q, D]
    g = x if gallery is None else unit(gallery, "gallery")  # [N, D]
    p, same = parameters, gallery is None
    available = len(g) - same
    if not 1 <= k <= available:
        raise ValueError(f"k is {k}, but a query has {available} gallery items to choose from")
    if method == "k_reciprocal":
        k1 = max(1, p.k)
        found = k_reciprocal_rerank(
            x, None if same else g, k, k1=k1, k2=max(1, round(0.3 * k1)), original_weight=p.share
        )
        return found.indices
    if method == "diffusion":
        left = seeds(x, g, p.k, p.power, same=same)  # [Q, N]
        right = diffuse(g, p.k, p.power, p.rounds)  # [N, N]
    else:
        pool = x if same else torch.cat([x, g])  # [P, D]
        features = neighbour_features(pool, p.k, p.power, p.rounds)  # [P, P]
        left = features[: len(x)]
        right = sparse.csr_array((features if same else features[len(x) :]).T)  # [P, N]
    return _best(x, g, left, right, k, p.share, same=same)


def _best(
    x: Tensor,
    g: Tensor,
    left: sparse.csr_array,
    right: sparse.csr_array,
    k: int,
    share: float,
    *,
    same: bool,
) -> Tensor:
    """Return the k items of highest score, int64 `[Q, k]`."""
    share = max(share, LEAST_SHARE)
    indices = torch.empty(len(x), k, dtype=torch.long)
    for rows in blocks(len(x), len(g)):
        score = torch.from_numpy((left[rows] @ right).toarray()).float()  # [n, N]
        score /= score.amax(1, keepdim=True).clamp(min=1e-30)
        score.mul_(1 - share).add_(x[rows] @ g.T, alpha=share)
        if same:
            score[torch.arange(len(score)), torch.arange(rows.start, rows.stop)] = -torch.inf
        indices[rows] = smallest(score.neg_(), k)[1]
    return indices
