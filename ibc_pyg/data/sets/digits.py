"""Scikit-learn's digits: 1,797 drawings of 8 x 8 pixels, for unit tests."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from ibc_pyg.data.table import ImageTable, Role


def digits_table() -> ImageTable:
    """Return the digits 0-4 for training and 5-9 for test, uint8 `[1797, 8, 8, 1]`."""
    digits = load_digits()
    labels = digits.target.astype(np.int64)  # [M]
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]  # [M, 8, 8, 1]
    return ImageTable(
        name="digits",
        paths=tuple(f"{label}/{row:04d}" for row, label in enumerate(labels)),
        labels=labels,
        roles=np.where(labels < 5, Role.TRAIN.value, Role.TEST.value).astype(np.uint8),
        class_names=tuple("0123456789"),
        images=images,
    )
