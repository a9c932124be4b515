"""Graph convolution re-ranking: descriptors smoothed over the graph of nearest neighbours.

Zhang et al. 2023, https://arxiv.org/abs/2306.08792.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor

from ibc_pyg.refinement.neighbours import neighbours
from ibc_pyg.refinement.sparse_graph import neighbour_matrix


def convolve(x: Tensor, k: int, power: float, rounds: int) -> Tensor:
    """Multiply descriptors by the normalised affinities of the neighbour graph.

    The affinity of i and its neighbour j is exp(-power |x_i - x_j|^2), 1 with itself, and the
    mean of both directions; the graph D^-1/2 A D^-1/2 is that of a graph convolution (Kipf and
    Welling 2017), rebuilt in each round.

    Args:
        x: Unit-norm float32 `[N, D]`, queries and gallery together.
        k: Neighbours.
        power: Sharpness of the affinities, >= 0.
        rounds: Repetitions.

    Returns:
        Unit-norm float32 `[N, D]`.
    """
    for _ in range(rounds):
        near = neighbours(x, None, k)
        affinity = torch.exp(-power * (2 - 2 * near.scores))  # [N, k]
        graph = neighbour_matrix(near.indices, affinity, len(x))  # [N, N]
        graph = (graph + graph.T) / 2 + sparse.identity(len(x), dtype=np.float32, format="csr")
        inverse = sparse.diags(1 / np.sqrt(np.asarray(graph.sum(1)).ravel()))
        x = torch.from_numpy((inverse @ graph @ inverse) @ x.numpy())  # [N, D]
        x = F.normalize(x.float(), dim=1)
    return x
