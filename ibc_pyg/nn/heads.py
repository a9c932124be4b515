"""Classifiers on top of embeddings; used in training only."""

from __future__ import annotations

from torch import Tensor, nn

from ibc_pyg.nn.sync_batch_norm import SyncBatchNorm


class BNNeckHead(nn.Module):
    """Batch normalisation, then a linear layer without bias.

    The shift of the normalisation stays at zero, so classes are told apart by hyperplanes through
    the origin of the normalised embeddings, from `"Bag of Tricks and a Strong Baseline for Deep
    Person Re-Identification" <https://arxiv.org/abs/1903.07071>`_. The statistics are those of
    the global batch where several processes share it.

    Args:
        channels: width of an embedding.
        num_classes: number of classes.

    Shapes:
        - **input:** embeddings :math:`(N, C)` or :math:`(B, N, C)`
        - **output:** logits, as many rows, `num_classes` columns

    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        _check_sizes(channels, num_classes)
        self.norm = SyncBatchNorm(channels)
        self.norm.bias.requires_grad_(False)
        self.linear = nn.Linear(channels, num_classes, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew: small, so that training starts from even odds."""
        self.norm.reset_parameters()
        nn.init.normal_(self.linear.weight, std=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, [N, num_classes] or [B, N, num_classes]."""
        rows = self.norm(x.reshape(-1, x.size(-1)))  # [B * N, C]
        logits: Tensor = self.linear(rows)  # [B * N, num_classes]
        return logits.view(*x.shape[:-1], -1)


class LinearHead(nn.Module):
    """A linear layer with bias.

    Args:
        channels: width of an embedding.
        num_classes: number of classes.

    Shapes:
        - **input:** embeddings :math:`(N, C)` or :math:`(B, N, C)`
        - **output:** logits, as many rows, `num_classes` columns

    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        _check_sizes(channels, num_classes)
        self.linear = nn.Linear(channels, num_classes)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.linear.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, [N, num_classes] or [B, N, num_classes]."""
        logits: Tensor = self.linear(x)
        return logits


def _check_sizes(channels: int, num_classes: int) -> None:
    if channels < 1:
        raise ValueError(f"channels must be at least 1, got {channels}")
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
