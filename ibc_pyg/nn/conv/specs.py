"""Constructor arguments of the convolutions of PyG, and the reasons why some are unsupported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from ibc_pyg.nn.checks import check_at_least, check_rate

# Degree of a node in the paper's batch for CUB, 6 classes x 9 images, with self-loops.
_TYPICAL_DEGREE = 54


@dataclass(frozen=True)
class ConvOptions:
    """Options that graph layers share.

    Attributes:
        channels: Width of a node embedding, in and out; >= 1.
        heads: Number of attention heads, for layers that have them; >= 1. Where heads are
            concatenated, each is `channels // heads` wide, and a linear layer restores the width.
        dropout: Dropout rate of attention weights, for layers that have attention; in [0, 1).
        null_node: Softmax-plus-one in `IntraBatchConv`; other layers have none.
        self_loops: Whether the complete graph has self-loops.
        fuse: Use the dense twin of a PyG layer on complete graphs, if there is one.

    Raises:
        ValueError: If a value is out of range.
    """

    channels: int
    heads: int = 1
    dropout: float = 0.0
    null_node: bool = True
    self_loops: bool = True
    fuse: bool = True

    def __post_init__(self) -> None:
        """Check ranges."""
        check_at_least(1, channels=self.channels, heads=self.heads)
        check_rate("dropout", self.dropout)


def _no_arguments(options: ConvOptions) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class ConvSpec:
    """Construction and call of a layer of `torch_geometric.nn`.

    Attributes:
        arguments: Constructor arguments that have no default, or whose default does not suit a
            batch graph; the user's arguments override them.
        attention_dropout: Whether the layer's `dropout` is that of attention weights.
        initial_features: Whether `forward` needs `x_0`, the features before the first layer; the
            layer's own input is passed.
        inner: Name of the argument that holds another convolution and may be given by name.
        edge_weights: Whether `forward` takes the edge weights that its signature has.
        no_negatives: Whether `forward` needs `neg_edge_index` to keep it from sampling edges that
            do not exist.
    """

    arguments: Callable[[ConvOptions], dict[str, Any]] = field(default=_no_arguments)
    attention_dropout: bool = False
    initial_features: bool = False
    inner: str | None = None
    edge_weights: bool = True
    no_negatives: bool = False


def mlp(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return two linear layers with ReLU between them, for layers that need an MLP."""
    return nn.Sequential(
        nn.Linear(in_channels, out_channels), nn.ReLU(), nn.Linear(out_channels, out_channels)
    )


def _pna(options: ConvOptions) -> dict[str, Any]:
    degrees = torch.zeros(_TYPICAL_DEGREE + 1, dtype=torch.long)
    degrees[-1] = _TYPICAL_DEGREE  # all nodes of a complete graph have the same degree
    return {
        "aggregators": ["mean", "min", "max", "std"],
        "scalers": ["identity", "amplification", "attenuation"],
        "deg": degrees,
    }


_PLAIN = ConvSpec()
_ATTENTION = ConvSpec(attention_dropout=True)

SPECS: Mapping[str, ConvSpec] = MappingProxyType(
    {
        "AGNNConv": _PLAIN,
        "APPNP": ConvSpec(lambda options: {"K": 10, "alpha": 0.1}),
        "ARMAConv": _PLAIN,
        "AntiSymmetricConv": ConvSpec(inner="phi"),
        "CGConv": _PLAIN,
        "ChebConv": ConvSpec(lambda options: {"K": 2}),
        "ClusterGCNConv": _PLAIN,
        "DirGNNConv": ConvSpec(lambda options: {"conv": "GCNConv"}, inner="conv"),
        "EGConv": ConvSpec(lambda options: {"num_heads": options.heads}),
        "EdgeConv": ConvSpec(lambda options: {"nn": mlp(2 * options.channels, options.channels)}),
        "FAConv": ConvSpec(attention_dropout=True, initial_features=True, edge_weights=False),
        "FeaStConv": _PLAIN,
        "FiLMConv": _PLAIN,
        "GATConv": _ATTENTION,
        "GATv2Conv": _ATTENTION,
        "GCN2Conv": ConvSpec(lambda options: {"alpha": 0.1}, initial_features=True),
        "GCNConv": _PLAIN,
        "GENConv": _PLAIN,
        "GINConv": ConvSpec(lambda options: {"nn": mlp(options.channels, options.channels)}),
        "GINEConv": ConvSpec(
            lambda options: {"nn": mlp(options.channels, options.channels), "edge_dim": 1}
        ),
        "GMMConv": ConvSpec(lambda options: {"dim": 1, "kernel_size": 2}),
        "GPSConv": ConvSpec(lambda options: {"conv": "GINConv"}, inner="conv"),
        "GatedGraphConv": ConvSpec(lambda options: {"num_layers": 1}),
        "GeneralConv": _PLAIN,
        "GraphConv": _PLAIN,
        "LEConv": _PLAIN,
        "LGConv": _PLAIN,
        # One weight matrix per degree: the complete graph has one degree.
        "MFConv": ConvSpec(lambda options: {"max_degree": 0}),
        "MixHopConv": _PLAIN,
        "PDNConv": ConvSpec(lambda options: {"edge_dim": 1, "hidden_channels": 16}),
        "PNAConv": ConvSpec(_pna),
        "ResGatedGraphConv": _PLAIN,
        "SAGEConv": _PLAIN,
        "SGConv": _PLAIN,
        "SSGConv": ConvSpec(lambda options: {"alpha": 0.1}),
        "SimpleConv": _PLAIN,
        "SuperGATConv": ConvSpec(attention_dropout=True, no_negatives=True),
        "TAGConv": _PLAIN,
        "TransformerConv": _ATTENTION,
        "WLConvContinuous": _PLAIN,
    }
)

_POSITIONS = "it needs node positions in space; the nodes of a batch have embeddings only"
_RELATIONS = "it needs a relation type for every edge; a batch graph has edges of one kind"
_HETEROGENEOUS = "it needs several types of nodes or edges; a batch graph has one of each"
_OWN_GRAPH = "it makes its own graph of nearest neighbours and ignores the batch graph"
_CUGRAPH = "it needs NVIDIA's pylibcugraphops and graphs in compressed form"

UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        "CuGraphGATConv": _CUGRAPH + "; use GATConv",
        "CuGraphRGCNConv": _CUGRAPH + " and relation types",
        "CuGraphSAGEConv": _CUGRAPH + "; use SAGEConv",
        "DNAConv": "it needs the outputs of all layers before it, [N, layers, C], not those of one",
        "DynamicEdgeConv": _OWN_GRAPH + "; use EdgeConv",
        "FastRGCNConv": _RELATIONS,
        "FusedGATConv": "it needs dgNN's CUDA kernels and graphs in compressed form; use GATConv, "
        "which is fused on complete graphs anyway",
        "GravNetConv": _OWN_GRAPH,
        "HANConv": _HETEROGENEOUS,
        "HEATConv": _HETEROGENEOUS,
        "HGTConv": _HETEROGENEOUS,
        "HeteroConv": _HETEROGENEOUS,
        "HypergraphConv": "it needs a hypergraph, whose edges join more than two nodes",
        "MeshCNNConv": "it needs the edges of a triangle mesh, four neighbours each",
        "MessagePassing": "it is the base class of convolutions and has no message of its own",
        "NNConv": "it makes a matrix channels x channels for every edge, which does not fit in "
        "memory for a complete graph; use ResGatedGraphConv or GINEConv",
        "PANConv": "it needs the compiled package torch-sparse and returns a pair; use MixHopConv",
        "PPFConv": _POSITIONS + ", and surface normals",
        "PointGNNConv": _POSITIONS,
        "PointNetConv": _POSITIONS,
        "PointTransformerConv": _POSITIONS,
        "RGATConv": _RELATIONS,
        "RGCNConv": _RELATIONS,
        "SignedConv": "it needs a graph of positive and one of negative edges",
        "SplineConv": "it needs pseudo-coordinates in [0, 1] for every edge and a compiled package",
        "WLConv": "it hashes discrete colours of nodes and has no gradient; use WLConvContinuous",
        "XConv": _POSITIONS,
    }
)
