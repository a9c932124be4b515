"""Complete graph: every node receives messages from every node."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data


def complete(x: Tensor | int, *, self_loops: bool = True) -> Data:
    """Make the complete graph of a batch, an edge between every ordered pair of nodes.

    The layers of this package take `edge_index=None` for this graph and create no edges then. The
    edges made here are for layers that need them.

    Args:
        x: Node embeddings, `[N, C]`, or the number N of nodes.
        self_loops: Whether every node has an edge to itself.

    Returns:
        Graph with `x` (None if only N was given) and `edge_index`, int64 `[2, E]`, E = N * N or
        N * (N - 1), sorted by receiver, then by sender: with self-loops `alpha.view(N, N, H)` of
        per-edge weights is receiver first.

    Raises:
        ValueError: If there is no node.
    """
    nodes = None if isinstance(x, int) else x
    N = x if isinstance(x, int) else x.size(0)
    if N < 1:
        raise ValueError(f"x must have at least 1 node, got {N}")
    node = torch.arange(N, device=None if nodes is None else nodes.device)
    source, target = node.repeat(N), node.repeat_interleave(N)  # [N * N]
    if not self_loops:
        kept = source != target
        source, target = source[kept], target[kept]  # [N * (N - 1)]
    return Data(x=nodes, edge_index=torch.stack([source, target]), num_nodes=N)
