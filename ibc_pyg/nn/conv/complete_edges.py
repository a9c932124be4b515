"""Edges of complete graphs, and dense tensors from and to values per edge."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

from ibc_pyg.graph.complete import complete
from ibc_pyg.nn.senders import Senders


class CompleteEdges:
    """Edges of the disjoint union of complete graphs of equal size, cached by size.

    Args:
        self_loops: Whether every node has an edge to itself.
        capacity: Number of sizes in the cache; the least recently used is discarded first.
    """

    def __init__(self, *, self_loops: bool, capacity: int = 4) -> None:
        self.self_loops = self_loops
        self.capacity = capacity
        self._cache: OrderedDict[tuple[int, int, int, torch.device], Tensor] = OrderedDict()

    def __call__(self, graphs: int, nodes: int, device: torch.device) -> Tensor:
        """Return int64 `[2, E]` over `graphs * nodes` nodes, sorted by receiver, then by sender."""
        key = (graphs, nodes, 0, device)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        one: Tensor = complete(nodes, self_loops=self.self_loops).edge_index.to(device)  # [2, E]
        offsets = torch.arange(graphs, device=device).view(1, -1, 1) * nodes  # [1, B, 1]
        edges = (one.unsqueeze(1) + offsets).flatten(1)  # [2, B * E]
        return self._insert(key, edges)

    def into(self, receivers: int, senders: Senders) -> Tensor:
        """Return int64 `[2, E]`, from all M senders to the `receivers` nodes of this process.

        Sources are indices of senders and targets of receivers; sorted by receiver, then by sender.
        """
        nodes, device = senders.num_nodes, senders.x.device
        key = (receivers, nodes, senders.first + 1, device)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        target = torch.arange(receivers, device=device).repeat_interleave(nodes)  # [N * M]
        source = torch.arange(nodes, device=device).repeat(receivers)  # [N * M]
        edges = torch.stack([source, target])  # [2, N * M]
        if not self.self_loops:
            edges = edges[:, source != target + senders.first]  # [2, N * (M - 1)]
        return self._insert(key, edges)

    def _insert(self, key: tuple[int, int, int, torch.device], edges: Tensor) -> Tensor:
        self._cache[key] = edges
        while len(self._cache) > self.capacity:
            self._cache.popitem(last=False)
        return edges


def bipartite_edge_weight(edge_weight: Tensor, edge_index: Tensor) -> Tensor:
    """Return the weight `[E]` of each edge of `into`, from weights `[N, M]`, receiver first."""
    source, target = edge_index
    return edge_weight[target, source]


def bipartite_attention(alpha: Tensor, edge_index: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return attention `[H, N, M]`, receiver first, from weights per edge, `[E, H]` or `[E]`."""
    alpha = alpha.view(alpha.size(0), -1)  # [E, H]
    source, target = edge_index
    dense = alpha.new_zeros(*shape, alpha.size(1)).index_put((target, source), alpha)  # [N, M, H]
    return dense.permute(2, 0, 1)  # [H, N, M]


def union_edge_weight(edge_weight: Tensor, edge_index: Tensor, graphs: int, nodes: int) -> Tensor:
    """Return the weight `[E]` of each edge of a union of complete graphs.

    Args:
        edge_weight: Weights `[N, N]` or `[B, N, N]`, receiver first.
        edge_index: Edges `[2, E]` over B * N nodes.
        graphs: Number B of graphs.
        nodes: Number N of nodes of a graph.
    """
    dense = edge_weight.expand(graphs, nodes, nodes)
    source, target = edge_index
    return dense[target // nodes, target % nodes, source % nodes]


def union_attention(alpha: Tensor, edge_index: Tensor, graphs: int, nodes: int) -> Tensor:
    """Return attention `[B, H, N, N]`, receiver first, from weights per edge, `[E, H]` or `[E]`."""
    alpha = alpha.view(alpha.size(0), -1)  # [E, H]
    source, target = edge_index
    dense = alpha.new_zeros(graphs, nodes, nodes, alpha.size(1))
    dense = dense.index_put((target // nodes, target % nodes, source % nodes), alpha)
    return dense.permute(0, 3, 1, 2)  # [B, H, N, N]
