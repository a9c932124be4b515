"""Adapter that gives every graph layer the call `conv(x, edge_index=None, edge_weight=None)`."""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.checks import check_edges, check_nodes
from ibc_pyg.nn.conv.arguments import Construction
from ibc_pyg.nn.conv.complete_edges import (
    CompleteEdges,
    bipartite_attention,
    bipartite_edge_weight,
    union_attention,
    union_edge_weight,
)
from ibc_pyg.nn.conv.fused import (
    CompleteGATConv,
    CompleteGATv2Conv,
    CompleteTransformerConv,
    fuse,
    why_not_fusable,
)
from ibc_pyg.nn.conv.inputs import ConvInputs, EdgeInput
from ibc_pyg.nn.conv.specs import ConvOptions
from ibc_pyg.nn.senders import Senders

_logger = logging.getLogger(__name__)

_TWINS = (CompleteGATConv, CompleteGATv2Conv, CompleteTransformerConv)
_PROBE_NODES = 4


class ConvAdapter(nn.Module):
    """A node-level convolution as a layer of the MPN.

    The complete graph needs no edges if the layer is a dense twin; for other layers its edges are
    cached by size. Several graphs in one call become one graph without edges between them.

    Args:
        conv: The layer, called as `conv(x, edge_index, ...)`.
        channels: Width of a node embedding, in and out.
        width: Output width of `conv`; if it is not `channels`, a linear layer follows.
        inputs: Further inputs of `conv.forward`.
        self_loops: Whether the complete graph has self-loops. Layers that add self-loops replace
            or keep those of the graph, so that none is counted twice.
        check_finite: Check `x` for NaN and infinity; costs one sum over `x` per call.

    Attributes:
        construction: Record of how `make_conv` made the layer.

    Shapes:
        - **input:** node embeddings :math:`(N, C)`, or :math:`(B, N, C)` for B separate complete
          graphs; edge indices :math:`(2, E)` *(optional)*; edge weights :math:`(E)`, or
          :math:`(N, N)` receiver first without edge indices *(optional)*
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
        self.construction: Construction | None = None
        self.lin_out: nn.Module = nn.Identity()
        if width != channels:
            self.lin_out = nn.Linear(width, channels)

    @property
    def has_attention(self) -> bool:
        """Whether `return_attention_weights` is supported."""
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
            x: Node embeddings, `[N, C]` or `[B, N, C]`.
            edge_index: (source, target) of each edge, int64 `[2, E]`; None is the complete graph.
            edge_weight: `[E]` with `edge_index`, else `[N, N]` or `[B, N, N]`, receiver first.
            return_attention_weights: Return `(out, alpha)`.
            senders: M source nodes, where they are not `x`; sources index them, and attention has
                M columns. `spans_processes` tells whether a layer supports this.

        Raises:
            ValueError: If inputs are out of shape or range.
            ConfigError: If edge weights or attention weights are asked of a layer without them.
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
        attention = return_attention_weights or None
        if edge_index is None and isinstance(self.conv, _TWINS):
            return self._project(self.conv(x, return_attention_weights=attention, senders=senders))
        if senders is not None:
            return self._from_senders(senders, x, edge_index, edge_weight, attention)
        if edge_index is not None:
            return self._call(self.inputs.keywords(x, edge_index, edge_weight, attention=attention))
        return self._on_complete_edges(x, edge_weight, attention)

    def _on_complete_edges(
        self, x: Tensor, edge_weight: Tensor | None, attention: bool | None
    ) -> Any:
        graphs, nodes = (x.size(0) if x.dim() == 3 else 1), x.size(-2)
        edge_index = self.complete_edges(graphs, nodes, x.device)
        if edge_weight is not None:
            edge_weight = union_edge_weight(edge_weight, edge_index, graphs, nodes)  # [B * E]
        flat = x.reshape(graphs * nodes, self.channels)  # [B * N, C]
        result = self._call(
            self.inputs.keywords(flat, edge_index, edge_weight, graphs=graphs, attention=attention)
        )
        if not attention:
            return result.view(x.shape)
        out, (edges, alpha) = result
        alpha = union_attention(alpha, edges, graphs, nodes)  # [B, H, N, N]
        return out.view(x.shape), (alpha if x.dim() == 3 else alpha[0])

    def _from_senders(
        self,
        senders: Senders,
        x: Tensor,
        edge_index: Tensor | None,
        edge_weight: Tensor | None,
        attention: bool | None,
    ) -> Any:
        """Apply the layer to all senders with the edges into the nodes `x`; keep their rows."""
        N, first = x.size(0), senders.first
        complete = edge_index is None
        if edge_index is None:
            edge_index = self.complete_edges.into(N, senders)
            if edge_weight is not None:
                edge_weight = bipartite_edge_weight(edge_weight, edge_index)  # [E]
        shift = edge_index.new_tensor([[0], [first]])
        edges = edge_index + shift  # [2, E]
        result = self._call(
            self.inputs.keywords(senders.x, edges, edge_weight, attention=attention)
        )
        if not attention:
            return result[first : first + N]
        out, (edges, alpha) = result
        # Self-loops that the layer adds also reach the other nodes.
        kept = (edges[1] >= first) & (edges[1] < first + N)
        edges, alpha = edges[:, kept] - shift, alpha[kept]
        if complete:
            alpha = bipartite_attention(alpha, edges, (N, senders.num_nodes))  # [H, N, M]
        return out[first : first + N], (alpha if complete else (edges, alpha))

    def _call(self, keywords: dict[str, Any]) -> Any:
        result = self.conv(**keywords)
        if self.inputs.no_negatives:
            # Scores of SuperGATConv's auxiliary loss, which is not used; they hold the graph.
            self.conv.att_x = self.conv.att_y = None  # type: ignore[assignment]
        return self._project(result)

    def _project(self, result: Any) -> Any:
        if isinstance(result, tuple):
            return self.lin_out(result[0]), result[1]
        return self.lin_out(result)


def adapt(name: str, conv: nn.Module, inputs: ConvInputs, options: ConvOptions) -> ConvAdapter:
    """Wrap a layer, as its dense twin if `options.fuse` and there is one.

    Args:
        name: Name of the layer, for messages.
        conv: The layer.
        inputs: Inputs of its `forward`.
        options: Width, self-loops and fusion.

    Raises:
        ConfigError: If the layer cannot be called on a batch graph.
    """
    channels, self_loops = options.channels, options.self_loops
    width = output_width(name, conv, channels, inputs)
    if options.fuse:
        reason = why_not_fusable(conv)
        if reason is None:
            conv = fuse(conv, self_loops=self_loops)
        else:
            _logger.debug("conv %s runs on edges: %s", name, reason)
    return ConvAdapter(conv, channels, width, inputs, self_loops=self_loops)


def output_width(name: str, conv: nn.Module, channels: int, inputs: ConvInputs) -> int:
    """Return the output width of a layer, by calling a copy of it on a small graph.

    Raises:
        ConfigError: If the call fails or does not give one embedding per node.
    """
    reference = next(conv.parameters(), torch.empty(0))
    x = torch.linspace(-1.0, 1.0, _PROBE_NODES * channels, device=reference.device)
    x = x.to(reference.dtype).view(_PROBE_NODES, channels)  # [N, C]
    edge_index = CompleteEdges(self_loops=True)(1, _PROBE_NODES, x.device)  # [2, E]
    try:
        trial = ConvAdapter(copy.deepcopy(conv), channels, channels, inputs).eval()
        with torch.no_grad():
            out = trial(x, edge_index)
    except Exception as error:  # a layer of any origin may raise anything
        raise ConfigError(
            f"conv: {name} cannot be called as conv(x, edge_index) on a batch graph: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(out, Tensor) or out.dim() != 2 or out.size(0) != _PROBE_NODES:
        found = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ConfigError(
            f"conv: {name} must give one embedding per node, [N, width]; for N={_PROBE_NODES} "
            f"it gave {found}"
        )
    return out.size(1)
