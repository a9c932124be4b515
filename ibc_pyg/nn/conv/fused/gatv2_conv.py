"""Dense twin of `torch_geometric.nn.GATv2Conv`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.nn import GATv2Conv

from ibc_pyg.nn.conv.fused._dense import (
    as_batch,
    full_precision,
    merge_heads,
    sender_softmax,
    senders_as_batch,
    split_heads,
    without_autocast,
)
from ibc_pyg.nn.conv.fused.relu_scores import relu_scores
from ibc_pyg.nn.senders import Senders


class CompleteGATv2Conv(GATv2Conv):  # type: ignore[misc]
    r"""`GATv2Conv` that computes the complete graph without its edges.

    .. math::
        \mathbf{x}^{\prime}_i = \sum_j \mathrm{softmax}_j \left( \mathbf{a}^{\top}
        \mathrm{LeakyReLU}(\mathbf{l}_j + \mathbf{r}_i) \right) \mathbf{l}_j, \quad
        \mathbf{l} = \mathbf{x} \mathbf{\Theta}_l, \ \mathbf{r} = \mathbf{x} \mathbf{\Theta}_r

    (https://arxiv.org/abs/2105.14491). With slope :math:`s`, LeakyReLU(t) = s t + (1 - s) relu(t);
    its linear part is a matrix product, in which the receiver's term cancels in the softmax.
    The rest is `relu_scores`, N^2 F_out numbers, which are computed block by block and again in
    the backward pass. Memory holds the `[H, N, N]` weights.
    Arguments are those of `GATv2Conv`; create it with `fuse(conv)`.

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
        nodes = as_batch(x, self.lin_l.in_channels)  # [B, N, F_in]
        sources, first = senders_as_batch(nodes, senders)  # [B, M, F_in]
        sent = self.lin_l(sources)  # [B, M, H * F_out]
        shared = self.share_weights and senders is None
        received = sent if shared else self.lin_r(nodes)  # [B, N, H * F_out]
        sent, received = split_heads(sent, self.heads), split_heads(received, self.heads)

        alpha = self._attention(sent, received, first).to(sent.dtype)  # [B, H, N, M]
        alpha = F.dropout(alpha, self.dropout, self.training)
        out = merge_heads(alpha @ sent, concat=self.concat)  # [B, N, F]
        if self.res is not None:
            out = out + self.res(nodes)
        if self.bias is not None:
            out = out + self.bias
        if x.dim() == 2:
            out, alpha = out[0], alpha[0]
        return (out, alpha) if return_attention_weights else out

    def _attention(self, sent: Tensor, received: Tensor, first: int) -> Tensor:
        # Scores are float32 under autocast too, as softmax amplifies their errors.
        sent, received = full_precision(sent), full_precision(received)  # [B, H, M or N, C]
        att = full_precision(self.att).to(sent.dtype)[0]  # [H, C]
        with without_autocast(sent):  # einsum is a bmm there
            linear = torch.einsum("bhnc,hc->bhn", sent, att)
            bent = relu_scores(sent, received, att)  # [B, H, N, M]
        slope = self.negative_slope
        scores = torch.add(slope * linear.unsqueeze(-2), bent, alpha=1.0 - slope)
        loops = self.self_loops or self.add_self_loops
        return sender_softmax(scores, self_loops=loops, first=first)
