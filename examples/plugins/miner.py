"""A miner, for any loss of pytorch-metric-learning or of your own."""

import torch
from torch import Tensor


def hardest(features: Tensor, labels: Tensor, positives: int = 1) -> tuple[Tensor, ...]:
    """Return each anchor with its most distant positives and its nearest negative."""
    distance = torch.cdist(features.detach(), features.detach())  # [N, N]
    same = labels[:, None] == labels
    anchor = torch.arange(len(labels), device=labels.device).repeat_interleave(positives)
    far = distance.masked_fill(~same, -torch.inf).topk(positives).indices.flatten()
    near = distance.masked_fill(same, torch.inf).argmin(1).repeat_interleave(positives)
    return anchor, far, near  # [N * positives] each
