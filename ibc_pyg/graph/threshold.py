"""Graph of pairs above a similarity threshold."""

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
    """Make the graph of all pairs whose similarity is above a threshold.

    Edge weights are similarities; negative ones become 0.

    Args:
        x: Node embeddings, `[N, C]`.
        threshold: A pair has an edge if its similarity is greater; in [-1, 1]. Below 0 every pair
            has an edge, of weight 0 where the similarity is negative.
        similarity: `correlation` of the embeddings centred over their channels, or `cosine`.
        self_loops: Whether a node has an edge to itself (of weight 1, if above the threshold).
        senders: Source nodes, `[M, C]`, where they are not `x`; edges index them.
        first: Index in `senders` of the first row of `x`; the other rows follow it.

    Returns:
        Graph with `x`, `edge_index`, int64 `[2, E]`, sorted by receiver, and `edge_weight`, `[E]`,
        in [0, 1], differentiable in `x`.

    Raises:
        ValueError: If `threshold` is out of range, `similarity` is unknown, or there is no node.
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
