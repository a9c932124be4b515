"""Scikit-learn's digits with noise as tensors: every other image is for training."""

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor

CLASSES, NOISE = 10, 0.4


@dataclass(frozen=True)
class Images:
    """Images and labels.

    Attributes:
        x: float32 `[N, 1, 8, 8]`.
        y: int64 `[N]`.
    """

    x: Tensor
    y: Tensor


def digits(*, train: bool) -> Images:
    """Return the training or the test images, always the same."""
    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 16  # [N, 1, 8, 8]
    x += NOISE * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    y = torch.from_numpy(labels).long()  # [N]
    rows = slice(0 if train else 1, None, 2)
    return Images(x[rows], y[rows])
