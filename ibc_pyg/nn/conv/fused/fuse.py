"""From a PyG layer to its dense twin."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from torch_geometric.nn import GATConv, GATv2Conv, TransformerConv

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.fused.gat_conv import CompleteGATConv
from ibc_pyg.nn.conv.fused.gatv2_conv import CompleteGATv2Conv
from ibc_pyg.nn.conv.fused.transformer_conv import CompleteTransformerConv

Twin = CompleteGATConv | CompleteGATv2Conv | CompleteTransformerConv

_TWINS: dict[type, type[Twin]] = {
    GATConv: CompleteGATConv,
    GATv2Conv: CompleteGATv2Conv,
    TransformerConv: CompleteTransformerConv,
}


def why_not_fusable(conv: Any) -> str | None:
    """Say why `conv` has no dense twin; None means that `fuse` takes it."""
    if type(conv) not in _TWINS and type(conv) not in _TWINS.values():
        known = ", ".join(cls.__name__ for cls in _TWINS)
        return f"{type(conv).__name__} has no dense twin (those of {known} do, not of subclasses)"
    if conv.edge_dim is not None:
        return f"edge_dim={conv.edge_dim} asks for edge features, and a dense twin has no edges"
    # `str(aggr)` is what MessagePassing keeps; both spellings of the sum are common.
    if conv.aggr not in ("add", "sum"):
        return f"aggr={conv.aggr!r} is not the sum that attention weights are made for"
    if conv.flow != "source_to_target":
        return f"flow={conv.flow!r}: the twin sends from source to target"
    return None


def fuse(conv: nn.Module, *, self_loops: bool = True) -> Twin:
    """Give the dense twin of a `GATConv`, `GATv2Conv` or `TransformerConv`.

    The twin is a subclass of the layer's class and *shares* its parameters, so that
    `state_dict` keys are the same and training one trains the other. Called without
    `edge_index` it computes the complete graph densely; with one it is the PyG layer. It takes
    over the layer's train/eval mode when it is made and keeps its own from then on.

    Args:
        conv: The layer, exactly of one of the three classes and without `edge_dim`.
        self_loops: Whether every node is its own neighbour in the complete graph. A layer with
            `add_self_loops=True` adds them whatever is said here, as in PyG.

    Returns:
        A `CompleteGATConv`, `CompleteGATv2Conv` or `CompleteTransformerConv`.

    Raises:
        ConfigError: The layer has no twin; `why_not_fusable` gives the reason beforehand.

    Example:
        >>> import torch
        >>> conv = fuse(GATConv(16, 8, heads=2))
        >>> conv(torch.randn(5, 16)).shape
        torch.Size([5, 16])

    """
    reason = why_not_fusable(conv)
    if reason is not None:
        raise ConfigError(f"conv: cannot be fused: {reason}; use the layer itself")
    cls = _TWINS.get(type(conv))
    cls = cast(type[Twin], type(conv)) if cls is None else cls  # a twin gives another twin
    twin = cls.__new__(cls)
    # The dictionaries of parameters and children are shared, not copied: what `to`,
    # `load_state_dict(assign=True)` or an optimiser does to one is done to both.
    twin.__setstate__(dict(conv.__dict__))
    twin.self_loops = self_loops
    return twin
