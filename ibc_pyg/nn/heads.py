"""Classification heads, used in training only."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.nn.checks import check_at_least
from ibc_pyg.nn.sync_batch_norm import SyncBatchNorm


class _Classifier(nn.Module):
    """A head with a linear layer.

    Attributes:
        linear: The layer.
        drawn: Weight, and bias if there is one, of some classes, which are used in training in
            place of those of the layer; see `SampledClasses`. They are not part of the state.
    """

    linear: nn.Linear
    drawn: Sequence[nn.Parameter] = ()

    def classify(self, x: Tensor) -> Tensor:
        """Return logits of features `[..., C]`: `[..., K]`, or `[..., S]` of the drawn classes."""
        if self.drawn and self.training:
            return F.linear(x, *self.drawn)
        logits: Tensor = self.linear(x)
        return logits


class BNNeckHead(_Classifier):
    """Batch normalisation, then a linear layer without bias.

    From `"Bag of Tricks and a Strong Baseline for Deep Person Re-Identification"
    <https://arxiv.org/abs/1903.07071>`_. The shift of the normalisation is fixed at zero, so that
    classes are separated by hyperplanes through the origin of the normalised embeddings. With
    several processes the statistics are those of the global batch.

    Args:
        channels: Width of an embedding.
        num_classes: Number K of classes.

    Shapes:
        - **input:** embeddings :math:`(N, C)` or :math:`(B, N, C)`
        - **output:** logits :math:`(N, K)` or :math:`(B, N, K)`
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        check_at_least(1, channels=channels, num_classes=num_classes)
        self.norm = SyncBatchNorm(channels)
        self.norm.bias.requires_grad_(False)
        self.linear = nn.Linear(channels, num_classes, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the weights; small ones give nearly uniform probabilities."""
        self.norm.reset_parameters()
        nn.init.normal_(self.linear.weight, std=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, `[N, K]` or `[B, N, K]`."""
        rows = self.norm(x.reshape(-1, x.size(-1)))  # [B * N, C]
        logits = self.classify(rows)  # [B * N, K]
        return logits.view(*x.shape[:-1], -1)


class LinearHead(_Classifier):
    """A linear layer with bias.

    Args:
        channels: Width of an embedding.
        num_classes: Number K of classes.

    Shapes:
        - **input:** embeddings :math:`(N, C)` or :math:`(B, N, C)`
        - **output:** logits :math:`(N, K)` or :math:`(B, N, K)`
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        check_at_least(1, channels=channels, num_classes=num_classes)
        self.linear = nn.Linear(channels, num_classes)

    def reset_parameters(self) -> None:
        """Initialise the weights."""
        self.linear.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, `[N, K]` or `[B, N, K]`."""
        return self.classify(x)
