"""Diffusion on the neighbour graph of a gallery, computed before any query is known.

Iscen et al. 2017 (https://arxiv.org/abs/1611.05113); its split into an offline part, which is kept
sparse, and a product at search time is that of Yang et al. 2019 (https://arxiv.org/abs/1811.10907).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from torch import Tensor

from ibc_pyg.metrics import Neighbours
from ibc_pyg.refinement.neighbours import neighbours
from ibc_pyg.refinement.sparse_graph import neighbour_matrix, product

_ALPHA = 0.9
TRUNCATION = 200
"""Gallery items that the diffusion from one of them reaches."""


def diffuse(gallery: Tensor, k: int, power: float, rounds: int) -> sparse.csr_array:
    """Spread from each gallery item over the graph of its neighbours.

    The affinity of two items is cos^power if each is among the k nearest of the other, else 0.
    `rounds` steps of F <- alpha S F + (1 - alpha) I, with the symmetrically normalised affinities
    S and alpha = 0.9, approach (1 - alpha) (I - alpha S)^-1; after each, the 200 largest entries of
    a row are kept.

    Args:
        gallery: Unit-norm float32 `[N, D]`.
        k: Neighbours.
        power: Exponent of the cosine.
        rounds: Steps.

    Returns:
        Sparse float32 `[N, N]`.
    """
    return spread(neighbours(gallery, None, k), power, rounds)


def spread(near: Neighbours, power: float, rounds: int) -> sparse.csr_array:
    """Spread over a graph of neighbours that were found already, `[N, k]`; see `diffuse`."""
    count = len(near.indices)
    graph = neighbour_matrix(near.indices, near.scores.clamp(min=0).pow(power), count)
    graph = sparse.csr_array(graph.minimum(graph.T))  # mutual neighbours
    degree = np.asarray(graph.sum(1)).ravel()
    inverse = sparse.diags_array(np.divide(1, np.sqrt(degree), where=degree > 0, out=0 * degree))
    step = sparse.csr_array(_ALPHA * (inverse @ graph @ inverse))
    start = sparse.csr_array(sparse.eye_array(count, dtype=np.float32, format="csr"))
    reached = start
    for _ in range(rounds):
        reached = product(step, reached, TRUNCATION)
        reached = sparse.csr_array(reached + (1 - _ALPHA) * start)
    return reached


def seeds(
    queries: Tensor, gallery: Tensor, k: int, power: float, *, same: bool
) -> sparse.csr_array:
    """Return where the diffusion of each query starts: its neighbours, by cos^power, `[Q, N]`."""
    near = neighbours(queries, gallery, k, same=same)
    return neighbour_matrix(near.indices, near.scores.clamp(min=0).pow(power), len(gallery))
