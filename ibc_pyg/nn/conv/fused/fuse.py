"""Dense twins of PyG layers that share their parameters."""

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
    """Return the reason why `conv` has no dense twin, or None if `fuse` accepts it."""
    if type(conv) not in _TWINS and type(conv) not in _TWINS.values():
        known = ", ".join(cls.__name__ for cls in _TWINS)
        return f"{type(conv).__name__} has no dense twin (those of {known} do, not of subclasses)"
    if conv.edge_dim is not None:
        return f"edge_dim={conv.edge_dim} needs edge features, and a dense twin has no edges"
    # MessagePassing stores `str(aggr)`; the sum has two names.
    if conv.aggr not in ("add", "sum"):
        return f"aggr={conv.aggr!r} is not the sum that attention weights need"
    if conv.flow != "source_to_target":
        return f"flow={conv.flow!r}: the twin sends from source to target"
    return None


def fuse(conv: nn.Module, *, self_loops: bool = True) -> Twin:
    """Return the dense twin of a `GATConv`, `GATv2Conv` or `TransformerConv`.

    The twin is a subclass of the layer's class and *shares* its parameters, so that
    `state_dict` keys are the same and training one trains the other. Called without
    `edge_index` it computes the complete graph densely; with one it is the PyG layer. It starts in
    the layer's train/eval mode, which is independent from then on.

    Args:
        conv: The layer, exactly of one of the three classes and without `edge_dim`.
        self_loops: Whether every node is its own neighbour in the complete graph. A layer with
            `add_self_loops=True` adds them in any case, as in PyG.

    Returns:
        A `CompleteGATConv`, `CompleteGATv2Conv` or `CompleteTransformerConv`.

    Raises:
        ConfigError: If the layer has no twin; `why_not_fusable` gives the reason.

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
    cls = cast(type[Twin], type(conv)) if cls is None else cls  # of a twin: another twin
    twin = cls.__new__(cls)
    # Parameters and children are shared, not copied, so that `to`, `load_state_dict(assign=True)`
    # and an optimiser act on both. The constructor would draw new ones.
    twin.__setstate__(dict(conv.__dict__))
    twin.self_loops = self_loops
    return twin
