"""What the dense twins have in common: shapes, the missing self-loop, the blocks of receivers."""

from __future__ import annotations

import torch
from torch import Tensor

from ibc_pyg.nn.conv.checks import check_nodes
from ibc_pyg.nn.senders import Senders


def as_batch(x: Tensor, channels: int) -> Tensor:
    """Check node features [N, C] or [B, N, C] and view them as [B, N, C].

    Raises:
        ValueError: wrong number of dimensions or width, or no node.

    """
    check_nodes(x, channels, finite=False)
    return x if x.dim() == 3 else x.unsqueeze(0)


def senders_as_batch(nodes: Tensor, senders: Senders | None) -> tuple[Tensor, int]:
    """Return what sends to `nodes` [B, N, F], [B, M, F], and which of it the first node is."""
    return (nodes, 0) if senders is None else (senders.x.unsqueeze(0), senders.first)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, N, H * C] -> [B, H, N, C], without a copy."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def merge_heads(x: Tensor, *, concat: bool) -> Tensor:
    """[B, H, N, C] -> [B, N, H * C], or [B, N, C] as the mean over heads."""
    return x.transpose(1, 2).flatten(2) if concat else x.mean(dim=1)


def sender_softmax(scores: Tensor, *, self_loops: bool, first: int = 0) -> Tensor:
    """Softmax over senders, leaving out the node itself where there are no self-loops.

    Args:
        scores: [..., R, N], receivers before senders.
        self_loops: Whether a node is its own neighbour.
        first: The node that row 0 is, for a block of receivers.

    Returns:
        Weights [..., R, N]; a single node without a self-loop has no neighbour, and weight 0.

    """
    if self_loops:
        return scores.softmax(-1)
    rows, nodes = scores.shape[-2:]
    if nodes == 1:
        return torch.zeros_like(scores)
    itself = torch.ones(rows, nodes, dtype=torch.bool, device=scores.device)
    itself = itself.triu(first).tril(first)  # [R, N]
    return scores.masked_fill(itself, float("-inf")).softmax(-1)


def receiver_blocks(nodes: int, bytes_per_receiver: int, budget: int) -> list[tuple[int, int]]:
    """Cuts `nodes` receivers into blocks [start, stop) that fit in `budget` bytes each."""
    step = max(1, min(nodes, budget // max(1, bytes_per_receiver)))
    return [(start, min(nodes, start + step)) for start in range(0, nodes, step)]


def full_precision(x: Tensor) -> Tensor:
    """Half and bfloat16 become float32; float32 and float64 stay."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
