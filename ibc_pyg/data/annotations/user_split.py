"""Split by class of a user's data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ibc_pyg.data.annotations.listed_images import ListedImage, natural
from ibc_pyg.data.table import Role
from ibc_pyg.errors import ConfigError, DatasetError


def split_by_class(
    name: str, rows: Sequence[ListedImage], *, test_fraction: float, seed: int
) -> list[ListedImage]:
    """Assign randomly drawn classes to the test part and the others to the training part.

    Args:
        name: Name of the set, for messages.
        rows: The images; their roles are ignored.
        test_fraction: Fraction of test classes, in [0, 1]; 0 and 1 give one part only.
        seed: Seed of the draw.

    Raises:
        ConfigError: If `test_fraction` is out of range.
        DatasetError: If there is only one class.
    """
    if not isinstance(test_fraction, (int, float)) or not 0 <= test_fraction <= 1:
        raise ConfigError(
            f"data.options.test_fraction: {test_fraction!r} is not a number in [0, 1]"
        )
    if not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"data.options.seed: {seed!r} is not an integer >= 0")
    labels = sorted({str(row.label) for row in rows}, key=natural)
    count = round(test_fraction * len(labels))
    if 0 < test_fraction < 1:
        if len(labels) < 2:
            raise DatasetError(
                f"{name}: {len(labels)} class found, but a split by class needs two; "
                "add a class, or set data.options.test_fraction to 0 or 1"
            )
        count = min(max(count, 1), len(labels) - 1)
    drawn = np.random.default_rng(seed).permutation(len(labels))[:count]
    test = {labels[index] for index in drawn}
    return [replace(row, role=Role.TEST if str(row.label) in test else Role.TRAIN) for row in rows]
