"""Checks of arguments and inputs, which name a mistake before it becomes a NaN."""

from __future__ import annotations

import torch
from torch import Tensor


def check_at_least(least: int, **values: int) -> None:
    """Check that values are not below a bound.

    Raises:
        ValueError: Naming the first value that is.
    """
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def check_heads(out_channels: int, heads: int) -> None:
    """Check that a number of heads divides the width.

    Args:
        out_channels: Width of all heads together.
        heads: Number of attention heads.

    Raises:
        ValueError: If one is below 1, or `heads` does not divide `out_channels`.
    """
    check_at_least(1, out_channels=out_channels, heads=heads)
    if out_channels % heads:
        raise ValueError(
            f"heads must divide out_channels, got heads={heads} and out_channels={out_channels}"
        )


def check_rate(name: str, rate: float) -> None:
    """Check that a dropout rate is in [0, 1).

    Raises:
        ValueError: If it is not.
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"{name} must be at least 0 and below 1, got {rate}")


def check_nodes(x: Tensor, channels: int, *, finite: bool = True) -> None:
    """Check node embeddings.

    Args:
        x: Node embeddings, `[N, C]`, or `[B, N, C]` for B separate complete graphs.
        channels: Width C that the layer expects.
        finite: Also check for NaN and infinity: one sum over `x`, and on an accelerator one
            synchronisation.

    Raises:
        ValueError: If the number of dimensions, the width or the type is wrong, there is no node,
            or (with `finite`) a value is not finite.
    """
    if x.dim() not in (2, 3):
        raise ValueError(f"x must have shape [N, C] or [B, N, C], got {list(x.shape)}")
    if x.size(-1) != channels:
        raise ValueError(f"x must have {channels} channels, got {x.size(-1)} ({list(x.shape)})")
    if x.numel() == 0:
        raise ValueError(f"x must have at least 1 node, got shape {list(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"x must be floating point, got {x.dtype}")
    if finite:
        check_finite("x", x)


def check_finite(name: str, values: Tensor) -> None:
    """Check for NaN and infinity; skipped while torch.compile traces.

    Raises:
        ValueError: Naming the first such value and its index.
    """
    if torch.compiler.is_compiling():
        return
    # A finite sum has finite terms only: the usual case costs one number. A sum of finite terms may
    # overflow, so an infinite sum is not an error yet.
    if torch.isfinite(values.detach().sum()):
        return
    bad = ~torch.isfinite(values.detach())
    if bad.any():
        index = bad.nonzero()[0].tolist()
        value = values.detach()[tuple(index)].item()
        raise ValueError(
            f"{name} must be finite, got {int(bad.sum())} of {bad.numel()} values that are NaN or "
            f"infinite, the first {value} at {index}"
        )


def check_edges(
    x: Tensor,
    edge_index: Tensor | None,
    edge_weight: Tensor | None,
    *,
    senders: Tensor | None = None,
    values: bool = True,
) -> None:
    """Check that edges fit the nodes.

    Args:
        x: Node embeddings, `[N, C]` or `[B, N, C]`.
        edge_index: (source, target) of each edge, int64 `[2, E]`, or None for the complete graph.
        edge_weight: One weight per edge: `[E]` or `[E, 1]` with `edge_index`, else `[N, N]` or
            `[B, N, N]`, receiver first.
        senders: Source nodes, `[M, C]`, where they are not `x`; sources then index these.
        values: Check values as well as shapes and types: one pass over each tensor, and on an
            accelerator one synchronisation.

    Raises:
        ValueError: If a shape or type is wrong, or (with `values`) an index is out of range or a
            weight is not finite.
    """
    N = x.size(-2)
    M = N if senders is None else senders.size(-2)
    if edge_index is None:
        if edge_weight is not None:
            _check_dense_shape(x, M, edge_weight)
            if values:
                check_finite("edge_weight", edge_weight)
        return
    if x.dim() != 2:
        raise ValueError(
            f"x must have shape [N, C] when edge_index is given, got {list(x.shape)}: "
            "join the graphs with torch_geometric.data.Batch"
        )
    if not isinstance(edge_index, Tensor) or edge_index.layout != torch.strided:
        raise ValueError(
            "edge_index must be a dense tensor [2, E]; torch_geometric.utils.to_edge_index turns "
            f"a sparse adjacency matrix into one, got {type(edge_index).__name__}"
        )
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"edge_index must have shape [2, E], got {list(edge_index.shape)}")
    if edge_index.dtype != torch.long:
        raise ValueError(f"edge_index must be int64, got {edge_index.dtype}")
    E = edge_index.size(1)
    if edge_weight is not None:
        if edge_weight.shape not in (torch.Size([E]), torch.Size([E, 1])):
            raise ValueError(
                f"edge_weight must have one value per edge, got shape {list(edge_weight.shape)} "
                f"for {E} edges"
            )
        if values:
            check_finite("edge_weight", edge_weight)
    if E and values and not torch.compiler.is_compiling():
        # One pass is enough where sources and targets index the same nodes.
        ends = [(edge_index, M)] if M == N else [(edge_index[0], M), (edge_index[1], N)]
        for indices, nodes in ends:
            low, high = (int(bound) for bound in torch.aminmax(indices))
            if low < 0 or high >= nodes:
                raise ValueError(
                    f"edge_index must lie in 0..{nodes - 1} for {nodes} nodes, "
                    f"got {low if low < 0 else high}"
                )


def _check_dense_shape(x: Tensor, M: int, edge_weight: Tensor) -> None:
    N = x.size(-2)
    fits = [torch.Size([N, M])] + ([torch.Size([x.size(0), N, M])] if x.dim() == 3 else [])
    if edge_weight.shape not in fits:
        raise ValueError(
            "edge_weight of a complete graph must have shape [N, N], or [B, N, N] with B graphs, "
            f"got {list(edge_weight.shape)} for x {list(x.shape)}"
        )
