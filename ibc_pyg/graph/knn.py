"""k-nearest-neighbour graph."""

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
    """Make the graph in which each node receives messages from its k most similar nodes.

    Args:
        x: Node embeddings, `[N, C]`.
        k: Number of neighbours, the node itself not counted; from 1 to N - 1.
        similarity: `cosine`, or `correlation` of the embeddings centred over their channels.
        self_loops: Whether every node also has an edge to itself.
        weighted: Give each edge its similarity as `edge_weight`, negative ones as 0.
        senders: Source nodes, `[M, C]`, where they are not `x`; edges index them, and k is at
            most M - 1.
        first: Index in `senders` of the first row of `x`; the other rows follow it.

    Returns:
        Graph with `x`, `edge_index`, int64 `[2, E]`, E = N * k or N * (k + 1), sorted by receiver,
        then nearest first (a self-loop before all), and `edge_weight`, `[E]`, differentiable in
        `x`, or None.

    Raises:
        ValueError: If `k` is out of range, `similarity` is unknown, or there is no node.
    """
    similarities = similarity_matrix(x, similarity, senders)  # [N, M]
    N, M = similarities.shape
    if not 1 <= k < M:
        raise ValueError(f"k must be from 1 to {M - 1} for {M} nodes, got {k}")
    receiver = torch.arange(N, device=x.device).unsqueeze(1)  # [N, 1]
    others = similarities.detach().clone()
    others.diagonal(first).fill_(-torch.inf)
    source = others.topk(k, dim=1).indices  # [N, k]
    if self_loops:
        source = torch.cat([receiver + first, source], dim=1)  # [N, k + 1]
    target = receiver.expand_as(source)
    weights = similarities.gather(1, source).clamp(min=0).flatten()  # [E]
    return Data(
        x=x,
        edge_index=torch.stack([source.flatten(), target.flatten()]),
        edge_weight=weights if weighted else None,
        num_nodes=N,
    )
