"""Only alike samples listen to each other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from ibc_pyg.graph.similarity import Similarity, similarity_matrix


def threshold(
    x: Tensor,
    threshold: float = 0.0,
    *,
    similarity: Similarity = "correlation",
    self_loops: bool = True,
    senders: Tensor | None = None,
    first: int = 0,
) -> Data:
    """Make the graph of all pairs that are more similar than a threshold.

    Negative similarities count as 0, so the result never has negative weights.

    Args:
        x: node embeddings, [N, C].
        threshold: pairs whose similarity is not above it get no edge; in [-1, 1]. Below 0 every
            pair has an edge (of weight 0 where the similarity is negative).
        similarity: `correlation` of the embeddings centred over their channels, or `cosine`.
        self_loops: whether a node has an edge to itself (of weight 1, if above the threshold).
        senders: the nodes that edges come from, if not `x`, [M, C]; sources are numbered among
            them.
        first: which of `senders` the first of `x` is; the others follow it.

    Returns:
        Graph with `x`, `edge_index`, int64 [2, E], sorted by receiver, and `edge_weight`, [E], in
        [0, 1], differentiable in `x`.

    Raises:
        ValueError: `threshold` is out of range, `similarity` unknown, or there is no node.

    """
    if not -1.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must be in [-1, 1], got {threshold}")
    weight = similarity_matrix(x, similarity, senders).clamp(min=0)  # [N, M]
    kept = weight > threshold
    if not self_loops:
        kept.diagonal(first).fill_(False)
    target, source = kept.nonzero(as_tuple=True)  # [E]
    return Data(
        x=x,
        edge_index=torch.stack([source, target]),
        edge_weight=weight[target, source],  # [E]
        num_nodes=x.size(0),
    )
