"""Dense twin of `torch_geometric.nn.TransformerConv`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.nn import TransformerConv

from ibc_pyg.nn.conv.fused._dense import (
    as_batch,
    merge_heads,
    sender_softmax,
    senders_as_batch,
    split_heads,
)
from ibc_pyg.nn.senders import Senders

# Scores that fit in a CPU's cache: storing them for the backward pass is faster than the flash
# kernel, which computes them twice.
_CACHED_SCORES_BYTES = 16 * 2**20


class CompleteTransformerConv(TransformerConv):  # type: ignore[misc]
    r"""`TransformerConv` that computes the complete graph without its edges.

    .. math::
        \mathbf{x}^{\prime}_i = \mathbf{W}_1 \mathbf{x}_i +
        \sum_j \mathrm{softmax}_j \left( \frac{(\mathbf{W}_3 \mathbf{x}_i)^{\top}
        \mathbf{W}_4 \mathbf{x}_j}{\sqrt{d}} \right) \mathbf{W}_2 \mathbf{x}_j

    (https://arxiv.org/abs/2009.03509), as one `scaled_dot_product_attention`, in memory linear
    in N. `[H, N, N]` scores are stored for `return_attention_weights`, on a CPU also with active
    dropout, or if they take 16 MiB or less, which is faster.
    Arguments are those of `TransformerConv`; create it with `fuse(conv)`.

    Shapes:
        - **input:** node features `[N, F_in]`, or `[B, N, F_in]` for B separate complete graphs
        - **output:** node features `[N, H * F_out]` (`[N, F_out]` with `concat=False`), or the same
          after a leading B; with `return_attention_weights=True` also the weights before
          dropout, `[H, N, N]` or `[B, H, N, N]`, receivers before senders
    """

    self_loops: bool = True

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
        *,
        senders: Senders | None = None,
    ) -> Any:
        """Attend over all nodes, or over `edge_index` as the PyG layer does.

        Args:
            x: Node features `[N, F_in]` or `[B, N, F_in]`.
            edge_index: Edges `[2, E]`; None is the complete graph.
            edge_attr: As in PyG, only with `edge_index`.
            return_attention_weights: Return `(out, alpha)`.
            senders: M source nodes, where they are not `x`; weights have M columns then.

        Raises:
            ValueError: If `x` is empty or of the wrong shape.
        """
        if edge_index is not None:
            return super().forward(x, edge_index, edge_attr, return_attention_weights)
        nodes = as_batch(x, self.lin_key.in_channels)  # [B, N, F_in]
        sources, first = senders_as_batch(nodes, senders)  # [B, M, F_in]
        if return_attention_weights:
            out, alpha = self._attend_explicitly(*self._projections(nodes, sources), first)
            out = self._combine(out, nodes)
            return (out, alpha) if x.dim() == 3 else (out[0], alpha[0])
        out = self._combine(self._attend(nodes, sources, first), nodes)  # [B, N, F]
        return out if x.dim() == 3 else out[0]

    def _projections(self, x: Tensor, sources: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project to queries `[B, H, N, F_out]`, keys and values `[B, H, M, F_out]`."""
        query, key, value = self.lin_query(x), self.lin_key(sources), self.lin_value(sources)
        return (
            split_heads(query, self.heads),
            split_heads(key, self.heads),
            split_heads(value, self.heads),
        )

    def _attend(self, x: Tensor, sources: Tensor, first: int) -> Tensor:
        """Return aggregated values, `[B, H, N, F_out]`."""
        query, key, value = self._projections(x, sources)
        N, M = query.size(-2), key.size(-2)
        scores_bytes = query.shape[:-1].numel() * M * query.element_size()
        small = query.device.type == "cpu" and scores_bytes <= _CACHED_SCORES_BYTES
        isolated = M == 1 and not self.self_loops  # softmax over no sender is undefined
        if small or isolated:
            return self._attend_explicitly(query, key, value, first)[0]
        mask = None
        if not self.self_loops:
            mask = torch.ones(N, M, dtype=torch.bool, device=x.device)  # [N, M]
            mask.diagonal(first).fill_(False)
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(query, key, value, mask, dropout)

    def _attend_explicitly(
        self, query: Tensor, key: Tensor, value: Tensor, first: int
    ) -> tuple[Tensor, Tensor]:
        scores = (query / math.sqrt(self.out_channels)) @ key.transpose(-1, -2)  # [B, H, N, M]
        alpha = sender_softmax(scores, self_loops=self.self_loops, first=first)
        return F.dropout(alpha, self.dropout, self.training) @ value, alpha

    def _combine(self, out: Tensor, x: Tensor) -> Tensor:
        out = merge_heads(out, concat=self.concat)  # [B, N, F]
        if not self.root_weight:
            return out
        root: Tensor = self.lin_skip(x)  # [B, N, F]
        if self.lin_beta is None:
            return out + root
        features = torch.cat([out, root, out - root], dim=-1)  # [B, N, 3 * F]
        beta: Tensor = self.lin_beta(features).sigmoid()  # [B, N, 1]
        return beta * root + (1 - beta) * out
