"""Keyword arguments that the `forward` of a graph layer takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.specs import ConvSpec

# Names of the number of edge features in the constructors of PyG's layers.
_EDGE_WIDTHS = ("edge_dim", "in_edge_channels", "dim")


class EdgeInput(Enum):
    """Form in which a layer takes one number per edge."""

    NONE = auto()
    WEIGHT = auto()
    ATTRIBUTE = auto()


@dataclass(frozen=True)
class ConvInputs:
    """Inputs of a layer's `forward` besides nodes and edges.

    Attributes:
        edge: Form of edge weights; an ATTRIBUTE is always passed, ones where there are no weights.
        batch: Whether it takes the index of the graph of each node.
        attention: Whether it can return attention weights.
        initial_features: Whether it takes `x_0`.
        no_negatives: Whether an empty `neg_edge_index` keeps it from sampling.
    """

    edge: EdgeInput
    batch: bool
    attention: bool
    initial_features: bool
    no_negatives: bool

    @classmethod
    def of(
        cls, name: str, conv: nn.Module, spec: ConvSpec, arguments: Mapping[str, Any]
    ) -> ConvInputs:
        """Read the inputs from the signature of `conv.forward`.

        Args:
            name: Name of the layer, for messages.
            conv: The layer.
            spec: Its specification.
            arguments: Constructor arguments, which may set the number of edge features.

        Raises:
            ConfigError: If the layer needs more than one feature per edge.
        """
        names = inspect.signature(conv.forward).parameters
        return cls(
            edge=_edge_input(name, names, arguments) if spec.edge_weights else EdgeInput.NONE,
            batch="batch" in names,
            attention="return_attention_weights" in names,
            initial_features=spec.initial_features,
            no_negatives=spec.no_negatives,
        )

    def keywords(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None,
        *,
        graphs: int = 1,
        attention: bool | None = None,
    ) -> dict[str, Any]:
        """Return the keyword arguments of one call of `forward`.

        Args:
            x: Node embeddings of all graphs, `[B * N, C]`.
            edge_index: Edges, int64 `[2, E]`.
            edge_weight: Edge weights, `[E]`.
            graphs: Number B of graphs of equal size.
            attention: Ask for attention weights.
        """
        keywords: dict[str, Any] = {"x": x, "edge_index": edge_index}
        if self.edge is EdgeInput.WEIGHT:
            keywords["edge_weight"] = None if edge_weight is None else edge_weight.view(-1)
        elif self.edge is EdgeInput.ATTRIBUTE:
            if edge_weight is None:
                edge_weight = x.new_ones(edge_index.size(1))
            keywords["edge_attr"] = edge_weight.view(-1, 1)  # [E, 1]
        if self.batch and graphs > 1:
            number = torch.arange(graphs, device=x.device)
            keywords["batch"] = number.repeat_interleave(x.size(0) // graphs)  # [B * N]
        if self.initial_features:
            keywords["x_0"] = x
        if self.no_negatives:
            keywords["neg_edge_index"] = edge_index.new_empty(2, 0)
        if attention:
            keywords["return_attention_weights"] = True
        return keywords


def _edge_input(
    name: str, parameters: Mapping[str, Any], arguments: Mapping[str, Any]
) -> EdgeInput:
    if "edge_weight" in parameters:
        return EdgeInput.WEIGHT
    if "edge_attr" not in parameters:
        return EdgeInput.NONE
    widths = [arguments[key] for key in _EDGE_WIDTHS if arguments.get(key)]
    if not widths:
        return EdgeInput.NONE
    if widths != [1]:
        raise ConfigError(
            f"conv_args: {name} is set to {widths[0]} features per edge; a batch graph has one, "
            "the edge weight: give 1"
        )
    return EdgeInput.ATTRIBUTE
