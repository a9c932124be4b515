"""One way to call every graph layer: conv(x), conv(x, edge_index), conv(x, edge_index, weight)."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.checks import check_edges, check_nodes
from ibc_pyg.nn.conv.complete_edges import (
    CompleteEdges,
    attention_of_rectangle,
    dense_attention_of,
    weights_of_edges,
    weights_of_rectangle,
)
from ibc_pyg.nn.conv.fused import CompleteGATConv, CompleteGATv2Conv, CompleteTransformerConv
from ibc_pyg.nn.conv.specs import ConvSpec
from ibc_pyg.nn.senders import Senders

_TWINS = (CompleteGATConv, CompleteGATv2Conv, CompleteTransformerConv)


class EdgeInput(Enum):
    """How a layer takes a number per edge."""

    NONE = auto()
    WEIGHT = auto()
    ATTRIBUTE = auto()


@dataclass(frozen=True)
class ConvInputs:
    """What a layer's `forward` asks for besides nodes and edges.

    Attributes:
        edge: how it takes edge weights; an ATTRIBUTE is always given, ones if there are none.
        batch: whether it takes the number of the graph that each node belongs to.
        attention: whether it can return attention weights.
        initial_features: whether it takes `x_0`.
        no_negatives: whether an empty `neg_edge_index` keeps it from sampling.

    """

    edge: EdgeInput
    batch: bool
    attention: bool
    initial_features: bool
    no_negatives: bool

    @classmethod
    def of(cls, conv: nn.Module, spec: ConvSpec, edge: EdgeInput) -> ConvInputs:
        """Read them off the signature of `conv.forward`."""
        names = inspect.signature(conv.forward).parameters
        return cls(
            edge=edge,
            batch="batch" in names,
            attention="return_attention_weights" in names,
            initial_features=spec.initial_features,
            no_negatives=spec.no_negatives,
        )


class ConvAdapter(nn.Module):
    """Any node-level convolution as a layer of the MPN.

    The complete graph needs no edges where the layer is a dense twin; for the others its edges
    are made once per size and kept. Several graphs in one call are joined to one graph without
    edges between them.

    Args:
        conv: the layer, called as `conv(x, edge_index, ...)`.
        channels: width of a node embedding, in and out.
        width: what `conv` gives; a linear layer brings it back to `channels` if it differs.
        inputs: what else `conv.forward` asks for.
        self_loops: whether the complete graph has self-loops. Layers that add self-loops of
            their own take out or keep those of the graph first: none is counted twice.
        check_finite: refuse NaN and infinity in `x`; costs one sum over `x` per call.

    Shapes:
        - **input:** node embeddings :math:`(N, C)`, or :math:`(B, N, C)` for B separate complete
          graphs; edge indices :math:`(2, E)` *(optional)*; edge weights :math:`(E)`, or
          :math:`(N, N)` receiver first where there are no edge indices *(optional)*
        - **output:** node embeddings, shaped as the input; with `return_attention_weights` also
          :math:`(H, N, N)` or :math:`(B, H, N, N)`, receiver first, or, with edge indices,
          :math:`((2, E), (E, H))`

    """

    def __init__(
        self,
        conv: nn.Module,
        channels: int,
        width: int,
        inputs: ConvInputs,
        *,
        self_loops: bool = True,
        check_finite: bool = True,
    ) -> None:
        super().__init__()
        self.conv = conv
        self.channels = channels
        self.inputs = inputs
        self.check_finite = check_finite
        self.complete_edges = CompleteEdges(self_loops=self_loops)
        self.lin_out: nn.Module = nn.Identity()
        if width != channels:
            self.lin_out = nn.Linear(width, channels)

    @property
    def has_attention(self) -> bool:
        """Whether `return_attention_weights` can be asked for."""
        return self.inputs.attention

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        *,
        return_attention_weights: bool | None = None,
        senders: Senders | None = None,
    ) -> Any:
        """Pass messages once.

        Args:
            x: node embeddings, [N, C] or [B, N, C].
            edge_index: (source, target) of each edge, int64 [2, E]; None is the complete graph.
            edge_weight: [E] with `edge_index`, else [N, N] or [B, N, N], receiver first.
            return_attention_weights: return `(out, alpha)`.
            senders: the M nodes that messages come from, if not `x`: sources are numbered among
                them, and attention has M columns. See `spans_processes` for which layers can.

        Raises:
            ValueError: inputs out of shape or range; edge weights or attention weights asked of
                a layer that has none.

        """
        name = type(self.conv).__name__
        check_nodes(x, self.channels, finite=self.check_finite)
        check_edges(
            x,
            edge_index,
            edge_weight,
            senders=None if senders is None else senders.x,
            values=self.check_finite,
        )
        if edge_weight is not None and self.inputs.edge is EdgeInput.NONE:
            raise ConfigError(
                f"edge_weight: {name} takes no edge weights; use a layer that does (GCNConv, "
                "GraphConv, ...), or give edge_dim=1 in conv_args if the layer has that argument"
            )
        if return_attention_weights and not self.has_attention:
            raise ConfigError(f"return_attention_weights: {name} has no attention weights")
        if edge_index is None and isinstance(self.conv, _TWINS):
            attend = return_attention_weights or None
            return self._project(self.conv(x, return_attention_weights=attend, senders=senders))
        if senders is not None:
            return self._from(senders, x, edge_index, edge_weight, return_attention_weights)
        if edge_index is not None:
            keywords = self._keywords(x, edge_index, edge_weight, 1, return_attention_weights)
            return self._call(keywords)
        return self._on_edges(x, edge_weight, return_attention_weights)

    def _on_edges(self, x: Tensor, edge_weight: Tensor | None, attention: bool | None) -> Any:
        """Compute the complete graph through its edges."""
        graphs, nodes = (x.size(0) if x.dim() == 3 else 1), x.size(-2)
        edge_index = self.complete_edges(graphs, nodes, x.device)
        if edge_weight is not None:
            edge_weight = weights_of_edges(edge_weight, edge_index, graphs, nodes)  # [B * E]
        flat = x.reshape(graphs * nodes, self.channels)  # [B * N, C]
        keywords = self._keywords(flat, edge_index, edge_weight, graphs, attention)
        result = self._call(keywords)
        if not attention:
            return result.view(x.shape)
        out, (edges, alpha) = result
        alpha = dense_attention_of(alpha, edges, graphs, nodes)  # [B, H, N, N]
        return out.view(x.shape), (alpha if x.dim() == 3 else alpha[0])

    def _from(
        self,
        senders: Senders,
        x: Tensor,
        edge_index: Tensor | None,
        edge_weight: Tensor | None,
        attention: bool | None,
    ) -> Any:
        """Compute all senders with the edges into our own nodes alone, and keep those rows."""
        N, first = x.size(0), senders.first
        complete = edge_index is None
        if edge_index is None:
            edge_index = self.complete_edges.into(N, senders)
            if edge_weight is not None:
                edge_weight = weights_of_rectangle(edge_weight, edge_index)  # [E]
        shift = edge_index.new_tensor([[0], [first]])
        edges = edge_index + shift  # [2, E]
        result = self._call(self._keywords(senders.x, edges, edge_weight, 1, attention))
        if not attention:
            return result[first : first + N]
        out, (edges, alpha) = result
        # The layer's own self-loops reach the other nodes too.
        ours = (edges[1] >= first) & (edges[1] < first + N)
        edges, alpha = edges[:, ours] - shift, alpha[ours]
        if complete:
            alpha = attention_of_rectangle(alpha, edges, (N, senders.num_nodes))  # [H, N, M]
        return out[first : first + N], (alpha if complete else (edges, alpha))

    def _keywords(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None,
        graphs: int,
        attention: bool | None,
    ) -> dict[str, Any]:
        """Gather what `conv.forward` asks for, by name."""
        keywords: dict[str, Any] = {"x": x, "edge_index": edge_index}
        if self.inputs.edge is EdgeInput.WEIGHT:
            keywords["edge_weight"] = None if edge_weight is None else edge_weight.view(-1)
        elif self.inputs.edge is EdgeInput.ATTRIBUTE:
            if edge_weight is None:
                edge_weight = x.new_ones(edge_index.size(1))
            keywords["edge_attr"] = edge_weight.view(-1, 1)  # [E, 1]
        if self.inputs.batch and graphs > 1:
            number = torch.arange(graphs, device=x.device)
            keywords["batch"] = number.repeat_interleave(x.size(0) // graphs)  # [B * N]
        if self.inputs.initial_features:
            keywords["x_0"] = x
        if self.inputs.no_negatives:
            keywords["neg_edge_index"] = edge_index.new_empty(2, 0)
        if attention:
            keywords["return_attention_weights"] = True
        return keywords

    def _call(self, keywords: dict[str, Any]) -> Any:
        result = self.conv(**keywords)
        if self.inputs.no_negatives:
            # Scores for a loss that is not used here; they would keep the graph of autograd.
            self.conv.att_x = self.conv.att_y = None  # type: ignore[assignment]
        return self._project(result)

    def _project(self, result: Any) -> Any:
        if isinstance(result, tuple):
            return self.lin_out(result[0]), result[1]
        return self.lin_out(result)
