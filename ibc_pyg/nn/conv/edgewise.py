"""`IntraBatchConv` that computes the complete graph through its edges."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ibc_pyg.nn.conv.checks import check_edges, check_nodes
from ibc_pyg.nn.conv.complete_edges import (
    CompleteEdges,
    attention_of_rectangle,
    dense_attention_of,
    weights_of_edges,
    weights_of_rectangle,
)
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.senders import Senders


class EdgewiseIntraBatchConv(IntraBatchConv):
    """The same layer with the same parameters and results, made for `fuse=False`.

    It shows what the dense path saves, and gives a debugger the messages of single edges.
    Arguments, shapes and errors are those of `IntraBatchConv`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.complete_edges = CompleteEdges(self_loops=self.self_loops)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        *,
        return_attention_weights: bool | None = None,
        senders: Senders | None = None,
    ) -> Any:
        """Pass messages along edges, those of the complete graph where none are given."""
        attend = return_attention_weights or None
        if edge_index is not None:
            return super().forward(
                x, edge_index, edge_weight, return_attention_weights=attend, senders=senders
            )
        check_nodes(x, self.in_channels, finite=False)
        check_edges(x, None, edge_weight, senders=None if senders is None else senders.x)
        if senders is not None:
            return self._from(senders, x, edge_weight, attend)
        graphs, nodes = (x.size(0) if x.dim() == 3 else 1), x.size(-2)
        edges = self.complete_edges(graphs, nodes, x.device)
        if edge_weight is not None:
            edge_weight = weights_of_edges(edge_weight, edges, graphs, nodes)  # [B * E]
        flat = x.reshape(graphs * nodes, x.size(-1))  # [B * N, C]
        result: Any = super().forward(flat, edges, edge_weight, return_attention_weights=attend)
        shape = (*x.shape[:-1], self.out_channels)
        if not attend:
            return result.view(shape)
        out, (_, alpha) = result
        alpha = dense_attention_of(alpha, edges, graphs, nodes)  # [B, H, N, N]
        return out.view(shape), (alpha if x.dim() == 3 else alpha[0])

    def _from(self, senders: Senders, x: Tensor, edge_weight: Tensor | None, attend: Any) -> Any:
        edges = self.complete_edges.into(x.size(0), senders)
        if edge_weight is not None:
            edge_weight = weights_of_rectangle(edge_weight, edges)  # [E]
        result: Any = super().forward(
            x, edges, edge_weight, return_attention_weights=attend, senders=senders
        )
        if not attend:
            return result
        out, (_, alpha) = result
        return out, attention_of_rectangle(alpha, edges, (x.size(0), senders.num_nodes))
