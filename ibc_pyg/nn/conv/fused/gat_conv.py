"""Dense twin of `torch_geometric.nn.GATConv`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch_geometric.nn import GATConv

from ibc_pyg.nn.conv.fused._dense import (
    as_batch,
    full_precision,
    merge_heads,
    receiver_blocks,
    sender_softmax,
    senders_as_batch,
    split_heads,
    without_autocast,
)
from ibc_pyg.nn.conv.fused.sorted_attention import sorted_attention
from ibc_pyg.nn.senders import Senders

# Attention weights of one block of receivers.
_BLOCK_BYTES = 64 * 2**20
# With fewer nodes, dense attention is faster than sorting and cumulative sums.
_SORT_FROM_NODES = 256


class CompleteGATConv(GATConv):  # type: ignore[misc]
    r"""`GATConv` that computes the complete graph without its edges.

    .. math::
        \mathbf{x}^{\prime}_i = \sum_j \mathrm{softmax}_j \left( \mathrm{LeakyReLU}(
        \mathbf{a}_s^{\top} \mathbf{\Theta} \mathbf{x}_j +
        \mathbf{a}_t^{\top} \mathbf{\Theta} \mathbf{x}_i) \right) \mathbf{\Theta} \mathbf{x}_j

    (https://arxiv.org/abs/1710.10903). A score is the sum of one number of the sender and one of
    the receiver, so that sorting the senders gives exact attention in O(N log N)
    (`sorted_attention`). With active dropout, without self-loops, in small graphs, and for
    `return_attention_weights`, the weights are computed densely; if they are large, for a block of
    receivers at a time and again in the backward pass.
    Arguments are those of `GATConv`; create it with `fuse(conv)`.

    Shapes:
        - **input:** node features `[N, F_in]`, or `[B, N, F_in]` for B separate complete graphs
        - **output:** node features `[N, H * F_out]` (`[N, F_out]` with `concat=False`), or the same
          after a leading B; with `return_attention_weights=True` also the weights after dropout,
          `[H, N, N]` or `[B, H, N, N]`, receivers before senders
    """

    self_loops: bool = True

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        edge_attr: Tensor | None = None,
        size: tuple[int, int] | None = None,
        return_attention_weights: bool | None = None,
        *,
        senders: Senders | None = None,
    ) -> Any:
        """Attend over all nodes, or over `edge_index` as the PyG layer does.

        Args:
            x: Node features `[N, F_in]` or `[B, N, F_in]`.
            edge_index: Edges `[2, E]`; None is the complete graph.
            edge_attr: As in PyG, only with `edge_index`.
            size: As in PyG; only with `edge_index`.
            return_attention_weights: Return `(out, alpha)`.
            senders: M source nodes, where they are not `x`; weights have M columns then.

        Raises:
            ValueError: If `x` is empty or of the wrong shape.
        """
        if edge_index is not None:
            return super().forward(x, edge_index, edge_attr, size, return_attention_weights)
        lin_source = self.lin if self.lin is not None else self.lin_src
        nodes = as_batch(x, lin_source.in_channels)  # [B, N, F_in]
        sources, first = senders_as_batch(nodes, senders)  # [B, M, F_in]
        value = lin_source(sources)  # [B, M, H * F_out]
        lin_target = lin_source if self.lin is not None else self.lin_dst
        shared = self.lin is not None and senders is None
        target = value if shared else lin_target(nodes)  # [B, N, H * F_out]
        value, target = split_heads(value, self.heads), split_heads(target, self.heads)
        # Scores are float32 under autocast too, as softmax amplifies their errors.
        sent = self._reduce(value, self.att_src)  # [B, H, M]
        received = self._reduce(target, self.att_dst)  # [B, H, N]

        alpha = None
        if return_attention_weights:
            alpha = self._attention(sent, received, first).to(value.dtype)  # [B, H, N, M]
            out = alpha @ value  # [B, H, N, C]
        else:
            out = self._attend(sent, received, value, first)  # [B, H, N, C]

        out = merge_heads(out, concat=self.concat)  # [B, N, F]
        if self.res is not None:
            out = out + self.res(nodes)
        if self.bias is not None:
            out = out + self.bias
        if x.dim() == 2:
            out = out[0]
            alpha = alpha if alpha is None else alpha[0]
        return (out, alpha) if return_attention_weights else out

    @staticmethod
    def _reduce(x: Tensor, att: Tensor) -> Tensor:
        x = full_precision(x)
        with without_autocast(x):  # einsum is a bmm there
            return torch.einsum("bhnc,hc->bhn", x, att[0].to(x.dtype))

    def _attend(self, sent: Tensor, received: Tensor, value: Tensor, first: int) -> Tensor:
        dropped = self.training and self.dropout > 0
        loops = self.self_loops or self.add_self_loops
        batch, heads, num_senders = sent.shape
        sortable = loops and not dropped and 0.0 <= self.negative_slope <= 1.0
        if sortable and num_senders >= _SORT_FROM_NODES:
            return sorted_attention(sent, received, value, self.negative_slope)
        num_receivers = received.size(-1)
        bytes_per_receiver = batch * heads * num_senders * sent.element_size()
        # A comparison, not a count of blocks, which torch.compile would specialise on each size.
        if num_receivers * bytes_per_receiver <= _BLOCK_BYTES or num_receivers == 1:
            return self._attend_block(sent, received, value, first)
        parts = [
            checkpoint(  # stores senders and receivers, recomputes the weights
                self._attend_block, sent, received[..., start:stop], value, first + start,
                use_reentrant=False,
            )
            for start, stop in receiver_blocks(num_receivers, bytes_per_receiver, _BLOCK_BYTES)
        ]  # fmt: skip
        return torch.cat(parts, dim=-2)  # [B, H, N, C]

    def _attend_block(self, sent: Tensor, received: Tensor, value: Tensor, first: int) -> Tensor:
        return self._attention(sent, received, first).to(value.dtype) @ value

    def _attention(self, sent: Tensor, received: Tensor, first: int) -> Tensor:
        """Return weights after dropout `[B, H, R, M]` of the receivers from node `first` on."""
        scores = received.unsqueeze(-1) + sent.unsqueeze(-2)  # [B, H, R, M]
        loops = self.self_loops or self.add_self_loops
        scores = F.leaky_relu(scores, self.negative_slope)
        alpha = sender_softmax(scores, self_loops=loops, first=first)
        return F.dropout(alpha, self.dropout, self.training)
