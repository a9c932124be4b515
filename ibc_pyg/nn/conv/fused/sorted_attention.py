"""Exact attention for scores LeakyReLU(s_j + d_i), by sorting instead of by pairs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ibc_pyg.nn.conv.fused._dense import full_precision


def _running_sums(x: Tensor) -> Tensor:
    """Row k of [..., N + 1, C] is the sum of the first k rows of [..., N, C]."""
    return F.pad(x, (0, 0, 1, 0)).cumsum(-2)


def _take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """[..., M, C], [..., N] -> [..., N, C]."""
    return x.gather(-2, rows.unsqueeze(-1).expand(*rows.shape, x.size(-1)))


def sorted_attention(sent: Tensor, received: Tensor, value: Tensor, slope: float) -> Tensor:
    r"""Attention with :math:`e_{ij} = \mathrm{LeakyReLU}(s_j + d_i)` over all senders j.

    For receiver i, exp(e_ij) is exp(d_i) exp(s_j) for the senders with s_j > -d_i and
    exp(slope d_i) exp(slope s_j) for the others: with the senders sorted, both sums are running
    sums, and a binary search finds where one ends. O(N log N + N C) time, O(N C) memory.

    Each running sum starts with its small terms last to be needed: the upper one grows from the
    largest score down, the lower one from the smallest up, so no difference of sums is taken and
    float32 suffices. Weights are relative to the largest score; its own weight is always 1.

    Args:
        sent: s, one score per sender, [B, H, M].
        received: d, one score per receiver, [B, H, N].
        value: What is averaged, [B, H, M, C].
        slope: Slope of LeakyReLU below zero, in [0, 1].

    Returns:
        Averages [B, H, N, C].

    Raises:
        ValueError: `slope` is outside [0, 1], where the largest sum has not the largest score.

    """
    if not 0.0 <= slope <= 1.0:
        raise ValueError(f"slope: expected a number in [0, 1], got {slope}")
    dtype = value.dtype
    value = full_precision(value)
    order = sent.argsort(-1)  # [B, H, M]
    ascending = sent.gather(-1, order)  # [B, H, M]
    largest = ascending[..., -1:].detach()  # [B, H, 1], cancels between the sums
    threshold = -received.detach().contiguous()
    below = torch.searchsorted(ascending.detach(), threshold, right=True)  # [B, H, N]

    relative = (ascending - largest).unsqueeze(-1)  # [B, H, M, 1]
    lower = (slope * relative).exp()
    upper = relative.exp().flip(-2)
    rows = _take_rows(value, order)  # [B, H, M, C]
    lower_sums = _running_sums(torch.cat([lower * rows, lower], -1))  # [B, H, M + 1, C + 1]
    upper_sums = _running_sums(torch.cat([upper * rows.flip(-2), upper], -1))

    # exp(slope z) / exp(z) where the largest score lies above zero; else all senders are below.
    top = (received + largest).clamp_min(0.0).unsqueeze(-1)  # [B, H, N, 1]
    sums = _take_rows(upper_sums, value.size(-2) - below)
    sums = sums + ((slope - 1.0) * top).exp() * _take_rows(lower_sums, below)  # [B, H, N, C + 1]
    return (sums[..., :-1] / sums[..., -1:]).to(dtype)
