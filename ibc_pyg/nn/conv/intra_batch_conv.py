"""Graph layer of intra-batch connections."""

from __future__ import annotations

from typing import Literal, overload

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import softmax

from ibc_pyg.nn.checks import (
    check_at_least,
    check_edges,
    check_heads,
    check_nodes,
    check_rate,
)
from ibc_pyg.nn.conv.arguments import Construction
from ibc_pyg.nn.conv.dense_attention import AttentionOptions, dense_attention
from ibc_pyg.nn.conv.softmax import softmax_plus_one
from ibc_pyg.nn.senders import Senders


class IntraBatchConv(MessagePassing):  # type: ignore[misc]
    r"""Multi-head dot-product attention between the samples of a batch.

    From `"Learning Intra-Batch Connections for Deep Metric Learning"
    <https://arxiv.org/abs/2102.07753>`_ (ICML 2021).

    .. math::
        \mathbf{x}'_i = \mathbf{W}_o \Big\Vert_{h=1}^{H} \sum_{j \in \mathcal{N}(i)}
        \alpha^h_{ij} \mathbf{W}^h_v \mathbf{x}_j,
        \qquad
        \alpha^h_{ij} = \frac{\exp(s^h_{ij})}{1 + \sum_{k \in \mathcal{N}(i)} \exp(s^h_{ik})},
        \qquad
        s^h_{ij} = \frac{(\mathbf{W}^h_q \mathbf{x}_i)^\top \mathbf{W}^h_k \mathbf{x}_j}{\sqrt{C}}

    where C is the width of one head. The 1 in the denominator is the *null node*, a neighbour of
    every node with zero key and zero value; without it this is plain softmax. Edge weights
    :math:`e_{ij}`, if given, multiply :math:`\alpha_{ij}` after the softmax and its dropout.

    With `edge_index=None` the graph is complete and no edges are created: dense attention gives the
    same result in memory linear in the number of nodes.

    Args:
        in_channels: Width of a node embedding.
        out_channels: Output width of all heads together; a multiple of `heads`.
        heads: Number of attention heads.
        null_node: Softmax-plus-one (the released weights need it) instead of softmax.
        self_loops: Whether the complete graph of `edge_index=None` has self-loops; a given
            `edge_index` is used unchanged.
        dropout: Dropout rate of attention weights in training.
        bias: Whether the four projections have a bias.
        check_finite: Check for NaN, infinity and edge indices out of range; costs one pass over the
            inputs per call, and on an accelerator one synchronisation.

    Shapes:
        - **input:** node embeddings :math:`(N, C_{in})`, or :math:`(B, N, C_{in})` for B separate
          complete graphs; edge indices :math:`(2, E)` *(optional)*; edge weights :math:`(E)`, or
          :math:`(N, N)` receiver first without edge indices *(optional)*
        - **output:** node embeddings :math:`(N, C_{out})` or :math:`(B, N, C_{out})`. If
          `return_attention_weights`, with edge indices
          :math:`((N, C_{out}), ((2, E), (E, H)))`, else :math:`((N, C_{out}), (H, N, N))` or
          :math:`((B, N, C_{out}), (B, H, N, N))`, receiver first

    Raises:
        ValueError: If an argument is out of range, `heads` does not divide the width, the graph is
            empty, `x` has NaN or an edge index is out of range; the message names argument and
            values.
    """

    has_attention = True
    construction: Construction | None = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        *,
        null_node: bool = True,
        self_loops: bool = True,
        dropout: float = 0.0,
        bias: bool = True,
        check_finite: bool = True,
    ) -> None:
        super().__init__(aggr="add", node_dim=0)
        check_at_least(1, in_channels=in_channels)
        check_heads(out_channels, heads)
        check_rate("dropout", dropout)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        self.null_node = null_node
        self.self_loops = self_loops
        self.dropout = dropout
        self.check_finite = check_finite
        self.lin_query = nn.Linear(in_channels, out_channels, bias=bias)
        self.lin_key = nn.Linear(in_channels, out_channels, bias=bias)
        self.lin_value = nn.Linear(in_channels, out_channels, bias=bias)
        self.lin_out = nn.Linear(out_channels, out_channels, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the weights: Xavier-uniform, biases zero."""
        super().reset_parameters()
        for linear in (self.lin_query, self.lin_key, self.lin_value, self.lin_out):
            nn.init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    @overload
    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = ...,
        edge_weight: Tensor | None = ...,
        *,
        return_attention_weights: Literal[False] | None = ...,
        senders: Senders | None = ...,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        x: Tensor,
        edge_index: None = ...,
        edge_weight: Tensor | None = ...,
        *,
        return_attention_weights: Literal[True],
        senders: Senders | None = ...,
    ) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = ...,
        *,
        return_attention_weights: Literal[True],
        senders: Senders | None = ...,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]: ...

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        *,
        return_attention_weights: bool | None = None,
        senders: Senders | None = None,
    ) -> Tensor | tuple[Tensor, Tensor] | tuple[Tensor, tuple[Tensor, Tensor]]:
        """Pass messages once.

        Args:
            x: Node embeddings, `[N, C]` or `[B, N, C]`.
            edge_index: (source, target) of each edge, int64 `[2, E]`; None is the complete graph.
            edge_weight: `[E]` or `[E, 1]` with `edge_index`, else `[N, N]` or `[B, N, N]`.
            return_attention_weights: Also return the softmax before dropout and edge weights.
            senders: M source nodes, `[M, C]`, where they are not `x`; sources index them, and
                attention has M columns.
        """
        check_nodes(x, self.in_channels, finite=self.check_finite)
        sources = x if senders is None else senders.x  # [M, C]
        check_edges(x, edge_index, edge_weight, senders=sources, values=self.check_finite)
        query = self.lin_query(x)
        key, value = self.lin_key(sources), self.lin_value(sources)
        if edge_index is None:
            out, alpha = self._dense(
                query,
                key,
                value,
                edge_weight,
                first=0 if senders is None else senders.first,
                need_weights=bool(return_attention_weights),
            )
            out = self.lin_out(out)
            return out if alpha is None else (out, alpha)
        out, alpha = self._sparse(query, key, value, edge_index, edge_weight)
        out = self.lin_out(out)
        return (out, (edge_index, alpha)) if return_attention_weights else out

    def _dense(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        edge_weight: Tensor | None,
        *,
        first: int,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        shape, H = query.shape, self.heads
        # With three dimensions the CPU's flash kernel is not selected.
        query, key, value = (
            t.view(-1, t.size(-2), H, t.size(-1) // H).transpose(1, 2)  # [B, H, N or M, C]
            for t in (query, key, value)
        )
        dropout = self.dropout if self.training else 0.0
        options = AttentionOptions(self.null_node, self.self_loops, dropout, first)
        out, alpha = dense_attention(
            query, key, value, options, edge_weight=edge_weight, need_weights=need_weights
        )
        out = out.transpose(1, 2).reshape(shape)  # [N, H * C] or [B, N, H * C]
        if alpha is not None and len(shape) == 2:
            alpha = alpha.squeeze(0)  # [H, N, M]
        return out, alpha

    def _sparse(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        query, key, value = (t.view(t.size(0), self.heads, -1) for t in (query, key, value))
        size = key.size(0), query.size(0)
        alpha: Tensor = self.edge_updater(
            edge_index, query=(None, query), key=(key, None), size=size
        )  # [E, H]
        weight = F.dropout(alpha, self.dropout, training=self.training)
        if edge_weight is not None:
            weight = weight * edge_weight.view(-1, 1)
        out: Tensor = self.propagate(
            edge_index, value=(value, None), weight=weight, size=size
        )  # [N, H, C]
        return out.flatten(1), alpha  # [N, H * C], [E, H]

    def edge_update(
        self, query_i: Tensor, key_j: Tensor, index: Tensor, size_i: int | None
    ) -> Tensor:
        """Return the attention weight of each edge, `[E, H]`."""
        scores = (query_i * key_j).sum(-1) * key_j.size(-1) ** -0.5  # [E, H]
        num_nodes = 0 if size_i is None else size_i
        if self.null_node:
            return softmax_plus_one(scores, index, num_nodes)
        alpha: Tensor = softmax(scores, index, num_nodes=num_nodes)
        return alpha

    def message(self, value_j: Tensor, weight: Tensor) -> Tensor:
        """Multiply the value of the sender by the attention weight, `[E, H, C]`."""
        return weight.unsqueeze(-1) * value_j

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.in_channels}, {self.out_channels}, "
            f"heads={self.heads})"
        )
