"""Features of the edges of a nearest-neighbour graph that know no class and no dimension.

The structure around an edge tells links inside a class from links between classes, as in linkage
prediction for face clustering: Wang et al. 2019, https://arxiv.org/abs/1903.11306.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ibc_pyg.graph.nearest import nearest

FEATURES = (
    "similarity",
    "rank of j for i",
    "rank of i for j",
    "reciprocal",
    "shared among the first k",
    "shared among the first 8",
    "similarity less the mean of the first 10 of i",
    "similarity less the mean of the first 10 of j",
    "similarity less the best of i",
    "similarity less the best of j",
    "similarity of j to the first 5 of i, less the mean of the first 10 of i",
    "mean of the first 10 of i",
    "mean of the first 10 of j",
)
"""Names of the features of an edge from a neighbour j to the descriptor i that it refines."""

_FEW, _CENTRE, _NEAR = 8, 5, 10


@dataclass(frozen=True)
class Lists:
    """Nearest gallery items of each descriptor, itself left out.

    Attributes:
        indices: Rows of the gallery, int64 `[N, k]`, nearest first.
        similarities: Cosines, float32 `[N, k]`, descending.
    """

    indices: Tensor
    similarities: Tensor

    def rows(self, rows: Tensor) -> Lists:
        """Return the lists of some descriptors, of any shape in place of N."""
        return Lists(self.indices[rows], self.similarities[rows])


def nearest_lists(vectors: Tensor, gallery: Tensor | None, k: int) -> Lists:
    """Find the nearest gallery items.

    Args:
        vectors: Unit-norm float32 `[N, D]`.
        gallery: Unit-norm float32 `[M, D]`; None searches `vectors` and leaves each one out of its
            own list.
        k: Length of the lists; a smaller gallery makes them shorter.
    """
    if gallery is None:
        indices, distances = nearest(vectors, vectors, k + 1, itself=True)
        indices, distances = indices[:, 1:], distances[:, 1:]  # [N, k]
    else:
        indices, distances = nearest(vectors, gallery, k)
    return Lists(indices, 1 - distances / 2)


def edge_features(lists: Lists, items: Tensor, theirs: Lists) -> Tensor:
    """Describe the edges from the listed gallery items to each descriptor.

    Args:
        lists: Lists of the descriptors, N of length k.
        items: The listed items, unit-norm float32 `[N, k, D]`.
        theirs: Lists of the listed items, `[N, k, k']`.

    Returns:
        Float32 `[N, k, F]`, F as many as `FEATURES`. Each of the N depends on its own list alone.
    """
    near, similarity, back_similarity = lists.indices, lists.similarities, theirs.similarities
    N, k = near.shape
    mean_i = similarity[:, :_NEAR].mean(1, keepdim=True).expand(N, k)
    mean_j = back_similarity[:, :, :_NEAR].mean(2)  # [N, k]
    best_i, best_j = similarity[:, :1], back_similarity[:, :, 0]
    length = max(back_similarity.shape[2], 1)
    back = (back_similarity > similarity[:, :, None] + _TIE).sum(2) / length  # [N, k]
    centre = items[:, :_CENTRE].mean(1)  # [N, D]
    to_centre = torch.einsum("nd,nkd->nk", centre, items)
    order = torch.arange(k, device=near.device) / k
    return torch.stack(
        [
            similarity,
            order.expand(N, k),
            back,
            (back < 1).float(),
            _shared(near, theirs.indices, k),
            _shared(near[:, :_FEW], theirs.indices[:, :, :_FEW], _FEW),
            similarity - mean_i,
            similarity - mean_j,
            similarity - best_i,
            similarity - best_j,
            to_centre - mean_i,
            mean_i,
            mean_j,
        ],
        dim=2,
    )  # [N, k, F]


_TIE = 1e-6
"""Similarities that differ by less count as equal: products of one pair can differ in rounding."""


def _shared(own: Tensor, theirs: Tensor, length: int) -> Tensor:
    """Return the share of `own` `[N, n]` that is in each of `theirs` `[N, k, m]`, `[N, k]`."""
    order = own.sort(1).values  # [N, n]
    flat = theirs.reshape(len(own), -1)  # [N, k * m]
    place = torch.searchsorted(order, flat.contiguous()).clamp_(max=order.shape[1] - 1)
    found = order.gather(1, place) == flat  # [N, k * m]
    return found.view(theirs.shape).sum(2) / length
