"""Everybody listens to its nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from ibc_pyg.graph.similarity import Similarity, similarity_matrix


def knn(
    x: Tensor,
    k: int,
    *,
    similarity: Similarity = "cosine",
    self_loops: bool = False,
    weighted: bool = False,
    senders: Tensor | None = None,
    first: int = 0,
) -> Data:
    """Make the graph in which each node receives from the k nodes most similar to it.

    Args:
        x: node embeddings, [N, C].
        k: number of neighbours, the node itself not counted; from 1 to N - 1.
        similarity: `cosine`, or `correlation` of the embeddings centred over their channels.
        self_loops: whether every node receives from itself too.
        weighted: give each edge its similarity, negative ones as 0, as `edge_weight`.
        senders: the nodes that edges come from, if not `x`, [M, C]; sources are numbered among
            them, and k is at most M - 1.
        first: which of `senders` the first of `x` is; the others follow it.

    Returns:
        Graph with `x`, `edge_index`, int64 [2, E], E = N * k or N * (k + 1), sorted by receiver,
        nearest first (itself before all), and `edge_weight`, [E], differentiable in `x`, or None.

    Raises:
        ValueError: `k` is out of range, `similarity` unknown, or there is no node.

    """
    alike = similarity_matrix(x, similarity, senders)  # [N, M]
    N, M = alike.shape
    if not 1 <= k < M:
        raise ValueError(f"k must be from 1 to {M - 1} for {M} nodes, got {k}")
    place = torch.arange(N, device=x.device).unsqueeze(1)  # [N, 1]
    itself = place + first  # [N, 1]
    others = alike.detach().clone()
    others.diagonal(first).fill_(-torch.inf)
    source = others.topk(k, dim=1).indices  # [N, k]
    if self_loops:
        source = torch.cat([itself, source], dim=1)  # [N, k + 1]
    target = place.expand_as(source)
    edge_weight = alike.gather(1, source).clamp(min=0).flatten() if weighted else None  # [E]
    return Data(
        x=x,
        edge_index=torch.stack([source.flatten(), target.flatten()]),
        edge_weight=edge_weight,
        num_nodes=N,
    )
