"""Edges of complete graphs, for layers that cannot do without, and attention back from edges."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

from ibc_pyg.graph.complete import complete
from ibc_pyg.nn.senders import Senders


class CompleteEdges:
    """Edges of the disjoint union of complete graphs of equal size, made once per size.

    Args:
        self_loops: whether every node has an edge to itself.
        capacity: how many different sizes are kept; the one unused for longest goes first.

    """

    def __init__(self, *, self_loops: bool, capacity: int = 4) -> None:
        self.self_loops = self_loops
        self.capacity = capacity
        self._kept: OrderedDict[tuple[int, int, int, torch.device], Tensor] = OrderedDict()

    def __call__(self, graphs: int, nodes: int, device: torch.device) -> Tensor:
        """Return int64 [2, E] over graphs x nodes nodes, sorted by receiver, then by sender."""
        key = (graphs, nodes, 0, device)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        one: Tensor = complete(nodes, self_loops=self.self_loops).edge_index.to(device)  # [2, E]
        offsets = torch.arange(graphs, device=device).view(1, -1, 1) * nodes  # [1, B, 1]
        edges = (one.unsqueeze(1) + offsets).flatten(1)  # [2, B * E]
        return self._keep(key, edges)

    def into(self, receivers: int, senders: Senders) -> Tensor:
        """Return int64 [2, E], from all of M senders to the `receivers` nodes that are ours.

        Sources are numbered among the senders and targets among the receivers; sorted by
        receiver, then by sender.
        """
        nodes, device = senders.num_nodes, senders.x.device
        key = (receivers, nodes, senders.first + 1, device)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        target = torch.arange(receivers, device=device).repeat_interleave(nodes)  # [N * M]
        source = torch.arange(nodes, device=device).repeat(receivers)  # [N * M]
        edges = torch.stack([source, target])  # [2, N * M]
        if not self.self_loops:
            edges = edges[:, source != target + senders.first]  # [2, N * (M - 1)]
        return self._keep(key, edges)

    def _keep(self, key: tuple[int, int, int, torch.device], edges: Tensor) -> Tensor:
        self._kept[key] = edges
        while len(self._kept) > self.capacity:
            self._kept.popitem(last=False)
        return edges


def weights_of_rectangle(edge_weight: Tensor, edge_index: Tensor) -> Tensor:
    """Look up dense weights [N, M], receiver first, for each edge that `into` made, [E]."""
    source, target = edge_index
    return edge_weight[target, source]


def attention_of_rectangle(alpha: Tensor, edge_index: Tensor, shape: tuple[int, int]) -> Tensor:
    """Put weights of edges [E, H] or [E] where they belong, [H, N, M], receiver first."""
    alpha = alpha.view(alpha.size(0), -1)  # [E, H]
    source, target = edge_index
    dense = alpha.new_zeros(*shape, alpha.size(1)).index_put((target, source), alpha)  # [N, M, H]
    return dense.permute(2, 0, 1)  # [H, N, M]


def weights_of_edges(edge_weight: Tensor, edge_index: Tensor, graphs: int, nodes: int) -> Tensor:
    """Look up dense weights [N, N] or [B, N, N], receiver first, for each edge of a union, [E]."""
    dense = edge_weight.expand(graphs, nodes, nodes)
    source, target = edge_index
    return dense[target // nodes, target % nodes, source % nodes]


def dense_attention_of(alpha: Tensor, edge_index: Tensor, graphs: int, nodes: int) -> Tensor:
    """Put weights of edges [E, H] or [E] where they belong, [B, H, N, N], receiver first."""
    alpha = alpha.view(alpha.size(0), -1)  # [E, H]
    source, target = edge_index
    dense = alpha.new_zeros(graphs, nodes, nodes, alpha.size(1))
    dense = dense.index_put((target // nodes, target % nodes, source % nodes), alpha)
    return dense.permute(0, 3, 1, 2)  # [B, H, N, N]
