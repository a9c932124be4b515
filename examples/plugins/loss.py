"""A loss, with parameters of its own."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Proxies(nn.Module):
    """Cross-entropy over the similarities to one learned proxy per class."""

    def __init__(self, num_classes: int, embedding_size: int, scale: float = 10.0) -> None:
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(num_classes, embedding_size))
        self.scale = scale

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of features `[N, D]` and labels `[N]`."""
        similarity = F.normalize(features, dim=1) @ F.normalize(self.proxies, dim=1).T  # [N, C]
        return F.cross_entropy(self.scale * similarity, labels)
