"""Focal loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.losses.term import TermInput


class FocalLoss(nn.Module):
    r"""Cross-entropy that down-weights easy samples (https://arxiv.org/abs/1708.02002).

    .. math:: L = \frac1N \sum_i (1 - p_i)^\gamma \, (-\log p_i)

    with :math:`p_i` the probability of the true class.

    Args:
        gamma: Focusing parameter, >= 0; 0 is cross-entropy.
        temperature: Divisor of the logits, > 0.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, gamma: float = 2.0, temperature: float = 1.0) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma must be >= 0, not {gamma}")
        if not temperature > 0:
            raise ValueError(f"temperature must be > 0, not {temperature}")
        self.gamma = gamma
        self.temperature = temperature

    def forward(self, inputs: TermInput) -> Tensor:
        """Return the mean over the batch."""
        minus_log_p = F.cross_entropy(
            inputs.logits / self.temperature, inputs.labels, reduction="none"
        )  # [N]
        # expm1 is exact for the small factors of easy samples; a power of 0 may have no gradient.
        error = (-torch.expm1(-minus_log_p)).clamp_min(1e-12)  # [N]
        return (error**self.gamma * minus_log_p).mean()
