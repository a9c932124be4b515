"""GNN re-ranking: neighbour sets as node features, summed over nearest neighbours.

Zhang et al. 2020, https://arxiv.org/abs/2012.07620: k-reciprocal re-ranking as message passing.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ibc_pyg.refinement.neighbours import neighbours
from ibc_pyg.refinement.sparse_graph import largest, neighbour_matrix, product

_FEW = 7 / 26
"""Share of the neighbours that send messages: k2 = 7 of k1 = 26 in the paper."""
_MOST = 512


def neighbour_features(x: Tensor, k: int, power: float, rounds: int) -> sparse.csr_array:
    """Describe each item by the items that it shares neighbours with.

    A is 1 for an item and its k nearest. In each round A <- A + A^T, and each row becomes the sum
    of its own and those of its nearest (7/26 of k, itself included), weighted by cos^power. Of
    each row the 512 largest entries are kept.

    Args:
        x: Unit-norm float32 `[N, D]`, queries and gallery together.
        k: Neighbours.
        power: Exponent of the cosine.
        rounds: Rounds of message passing.

    Returns:
        Sparse `[N, N]`, rows at unit norm.
    """
    count = len(x)
    near = neighbours(x, None, k)
    itself = torch.arange(count)[:, None]  # [N, 1]
    listed = torch.cat([itself, near.indices], 1)  # [N, k + 1]
    weights = torch.cat([torch.ones(count, 1), near.scores.clamp(min=0).pow(power)], 1)
    few = max(1, round(k * _FEW))
    send = neighbour_matrix(listed[:, :few], weights[:, :few], count)
    send = sparse.csr_array(send + sparse.eye_array(count, dtype=np.float32, format="csr"))
    features = neighbour_matrix(listed, torch.ones(listed.shape), count)
    for _ in range(rounds):
        features = largest(sparse.csr_array(features + features.T), _MOST)
        features = product(send, features, _MOST)
    norms = np.sqrt(np.asarray(features.multiply(features).sum(1)).ravel())
    return sparse.csr_array(sparse.diags_array(1 / np.maximum(norms, 1e-30)) @ features)
