"""A data set: a torch Dataset of (image, label), or a function that returns an ImageTable."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset

from ibc_pyg.data.table import ImageTable, Role


class Digits(Dataset):
    """Drawings of 8 x 8 pixels; without `roles`, digits 0-4 are for training and 5-9 for test."""

    def __init__(self) -> None:
        self.images, self.labels = load_digits(return_X_y=True)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        """Return an image, uint8 `[1, 8, 8]`, and its label."""
        pixels = torch.from_numpy(self.images[row]).view(1, 8, 8)
        return (pixels * 15.9).to(torch.uint8), int(self.labels[row])


def digits_table(test_from: int = 5) -> ImageTable:
    """Return the same as a table; `test_from` comes from data.options."""
    images, labels = load_digits(return_X_y=True)
    test = labels >= test_from
    return ImageTable(
        name="digits_table",
        paths=tuple(f"{label}/{row}" for row, label in enumerate(labels)),
        labels=labels.astype(np.int64),
        roles=np.where(test, Role.TEST.value, Role.TRAIN.value).astype(np.uint8),
        class_names=tuple("0123456789"),
        images=(images.reshape(-1, 8, 8, 1) * 15.9).astype(np.uint8),
    )
