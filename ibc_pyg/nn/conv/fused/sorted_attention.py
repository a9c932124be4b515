"""Exact attention with scores LeakyReLU(s_j + d_i) in O(N log N), by sorting the senders."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ibc_pyg.nn.conv.fused._dense import full_precision


def _cumulative_sums(x: Tensor) -> Tensor:
    """Return `[..., N + 1, C]`, whose row k is the sum of the first k rows of `[..., N, C]`."""
    return F.pad(x, (0, 0, 1, 0)).cumsum(-2)


def _take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Gather rows `[..., N]` of `[..., M, C]` to `[..., N, C]`."""
    return x.gather(-2, rows.unsqueeze(-1).expand(*rows.shape, x.size(-1)))


def sorted_attention(sent: Tensor, received: Tensor, value: Tensor, slope: float) -> Tensor:
    r"""Compute attention with :math:`e_{ij} = \mathrm{LeakyReLU}(s_j + d_i)` over all senders j.

    For receiver i, exp(e_ij) is exp(d_i) exp(s_j) for the senders with s_j > -d_i and
    exp(slope d_i) exp(slope s_j) for the others. Over sorted senders both sums are cumulative sums,
    and a binary search finds the boundary between them. Time is O(N log N + N C), memory O(N C).

    The upper sum accumulates from the largest score down, the lower one from the smallest up, so
    that no difference of sums is needed and float32 is exact enough. Weights are relative to the
    largest score, whose own weight is 1.

    Args:
        sent: Score s of each sender, `[B, H, M]`.
        received: Score d of each receiver, `[B, H, N]`.
        value: Values of the senders, `[B, H, M, C]`.
        slope: Slope of LeakyReLU below zero, in [0, 1].

    Returns:
        Weighted averages of the values, `[B, H, N, C]`.

    Raises:
        ValueError: If `slope` is outside [0, 1]: LeakyReLU would not be monotonic, or the largest
            exponent not that of the largest score.
    """
    if not 0.0 <= slope <= 1.0:
        raise ValueError(f"slope: expected a number in [0, 1], got {slope}")
    dtype = value.dtype
    value = full_precision(value)
    order = sent.argsort(-1)  # [B, H, M]
    ascending = sent.gather(-1, order)  # [B, H, M]
    largest = ascending[..., -1:].detach()  # [B, H, 1], cancels in the quotient
    threshold = -received.detach().contiguous()
    below = torch.searchsorted(ascending.detach(), threshold, right=True)  # [B, H, N]

    relative = (ascending - largest).unsqueeze(-1)  # [B, H, M, 1]
    lower = (slope * relative).exp()
    upper = relative.exp().flip(-2)
    rows = _take_rows(value, order)  # [B, H, M, C]
    lower_sums = _cumulative_sums(torch.cat([lower * rows, lower], -1))  # [B, H, M + 1, C + 1]
    upper_sums = _cumulative_sums(torch.cat([upper * rows.flip(-2), upper], -1))

    # exp(slope z) / exp(z) where the largest score z is above zero; else all senders are in the
    # lower sum.
    top = (received + largest).clamp_min(0.0).unsqueeze(-1)  # [B, H, N, 1]
    sums = _take_rows(upper_sums, value.size(-2) - below)
    sums = sums + ((slope - 1.0) * top).exp() * _take_rows(lower_sums, below)  # [B, H, N, C + 1]
    return (sums[..., :-1] / sums[..., -1:]).to(dtype)
