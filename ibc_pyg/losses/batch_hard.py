"""Batch-hard triplet loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.losses.term import TermInput


class BatchHardTripletLoss(nn.Module):
    r"""Triplet loss of each sample with its hardest positive and its hardest negative.

    From `"In Defense of the Triplet Loss for Person Re-Identification"
    <https://arxiv.org/abs/1703.07737>`_ (equation 5), over Euclidean distances.

    Args:
        margin: Margin between the distances, >= 0; None for the soft margin,
            :math:`\log(1 + e^x)` instead of :math:`\max(0, m + x)`.
        normalize: Normalise features to unit norm first.

    Raises:
        ValueError: If the margin is negative.
    """

    def __init__(self, margin: float | None = 0.2, normalize: bool = True) -> None:
        super().__init__()
        if margin is not None and not margin >= 0:
            raise ValueError(f"margin must be >= 0 or none, not {margin}")
        self.margin = margin
        self.normalize = normalize

    def forward(self, inputs: TermInput) -> Tensor:
        """Return the mean over the samples with a positive and a negative; 0 if there are none."""
        x = F.normalize(inputs.features, dim=1) if self.normalize else inputs.features
        squared = (x[:, None] - x[None]).square().sum(dim=2)  # [N, N]
        distance = squared.clamp_min(1e-12).sqrt()  # [N, N]
        same = inputs.labels[:, None] == inputs.labels[None]  # [N, N]
        positive = same & ~torch.eye(len(x), dtype=torch.bool, device=x.device)  # [N, N]
        hardest_positive = distance.masked_fill(~positive, -torch.inf).amax(dim=1)  # [N]
        hardest_negative = distance.masked_fill(same, torch.inf).amin(dim=1)  # [N]
        usable = positive.any(dim=1) & ~same.all(dim=1)  # [N]
        if not bool(usable.any()):
            return 0.0 * x.sum()
        excess = (hardest_positive - hardest_negative)[usable]  # [M]
        if self.margin is None:
            return F.softplus(excess).mean()
        return F.relu(excess + self.margin).mean()
