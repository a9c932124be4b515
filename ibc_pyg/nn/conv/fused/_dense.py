"""Functions that the dense twins share: shapes, softmax without self-loops, receiver blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from ibc_pyg.nn.checks import check_nodes
from ibc_pyg.nn.senders import Senders


def as_batch(x: Tensor, channels: int) -> Tensor:
    """Check node features `[N, C]` or `[B, N, C]` and return them as `[B, N, C]`.

    Raises:
        ValueError: If the number of dimensions or the width is wrong, or there is no node.
    """
    check_nodes(x, channels, finite=False)
    return x if x.dim() == 3 else x.unsqueeze(0)


def senders_as_batch(nodes: Tensor, senders: Senders | None) -> tuple[Tensor, int]:
    """Return the source nodes `[B, M, F]` of `nodes`, and the index of the first node in them."""
    return (nodes, 0) if senders is None else (senders.x.unsqueeze(0), senders.first)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """View `[B, N, H * C]` as `[B, H, N, C]`."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def merge_heads(x: Tensor, *, concat: bool) -> Tensor:
    """Join heads `[B, H, N, C]` to `[B, N, H * C]`, or average them to `[B, N, C]`."""
    return x.transpose(1, 2).flatten(2) if concat else x.mean(dim=1)


def sender_softmax(scores: Tensor, *, self_loops: bool, first: int = 0) -> Tensor:
    """Compute the softmax over senders, without the node itself if there are no self-loops.

    Args:
        scores: `[..., R, N]`, receivers before senders.
        self_loops: Whether a node is its own neighbour.
        first: Index of the receiver of row 0 among the senders.

    Returns:
        Weights `[..., R, N]`; a single node without a self-loop has no neighbour, and weight 0.
    """
    if self_loops:
        return scores.softmax(-1)
    rows, nodes = scores.shape[-2:]
    if nodes == 1:
        return torch.zeros_like(scores)
    loops = torch.ones(rows, nodes, dtype=torch.bool, device=scores.device)
    loops = loops.triu(first).tril(first)  # [R, N]
    return scores.masked_fill(loops, float("-inf")).softmax(-1)


def receiver_blocks(nodes: int, bytes_per_receiver: int, budget: int) -> list[tuple[int, int]]:
    """Divide `nodes` receivers into blocks [start, stop) of at most `budget` bytes each."""
    step = max(1, min(nodes, budget // max(1, bytes_per_receiver)))
    return [(start, min(nodes, start + step)) for start in range(0, nodes, step)]


def without_autocast(x: Tensor) -> torch.autocast:
    """Return a block in which products on the device of `x` keep the dtype of their operands."""
    return torch.autocast(x.device.type, enabled=False)


def full_precision(x: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32; leave float32 and float64."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
