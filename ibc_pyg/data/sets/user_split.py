"""Splitting and checking the user's own pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ibc_pyg.data.annotations import shown
from ibc_pyg.data.sets.common import Row, finish, natural
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.errors import ConfigError, DatasetError

_logger = logging.getLogger(__name__)


def split_by_class(name: str, rows: Sequence[Row], *, test_fraction: float, seed: int) -> list[Row]:
    """Give whole classes, drawn at random, to the test part; the other classes are for training.

    Args:
        name: Name of the set, for messages.
        rows: The images; their roles are ignored.
        test_fraction: Share of the classes for test, in [0, 1]; 0 and 1 give one part only.
        seed: Seed of the draw.

    Raises:
        ConfigError: If `test_fraction` is out of range.
        DatasetError: If one class cannot be split.
    """
    if not isinstance(test_fraction, (int, float)) or not 0 <= test_fraction <= 1:
        raise ConfigError(f"data.options.test_fraction: {test_fraction!r} is no number from 0 to 1")
    if not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"data.options.seed: {seed!r} is no whole number from 0 on")
    labels = sorted({str(row.label) for row in rows}, key=natural)
    count = round(test_fraction * len(labels))
    if 0 < test_fraction < 1:
        if len(labels) < 2:
            raise DatasetError(
                f"{name}: {len(labels)} class found, two are needed to split by class; "
                "add a class, or set data.options.test_fraction to 0 or 1"
            )
        count = min(max(count, 1), len(labels) - 1)
    drawn = np.random.default_rng(seed).permutation(len(labels))[:count]
    test = {labels[index] for index in drawn}
    return [replace(row, role=Role.TEST if str(row.label) in test else Role.TRAIN) for row in rows]


def finish_own(table: ImageTable, *, allow_partial: bool) -> ImageTable:
    """Check a set of the user's own: files there, every class with something to compare with.

    Raises:
        DatasetError: If files are missing, a class has one image, or a query has no match, unless
            `allow_partial` (then training classes of one image stay, and what cannot be
            found is left out and logged).
    """
    table = finish(table, allow_partial=allow_partial)
    single = table.single_image_classes()
    if len(single) and not allow_partial:
        label = int(single[0])
        row = int(np.flatnonzero(table.labels == label)[0])
        more = f" (and {len(single) - 1} more such classes)" if len(single) > 1 else ""
        raise DatasetError(
            f"{table.name}: class {shown(table.class_names[label])} has one image, "
            f"{shown(table.paths[row], 200)}{more}; add a second one, remove the class, "
            "or go on by data.allow_partial"
        )
    unmatched = table.unmatched()
    if len(unmatched) and not allow_partial:
        row = int(unmatched[0])
        raise DatasetError(
            f"{table.name}: query {shown(table.paths[row], 200)} has no gallery image of its class "
            f"{shown(table.class_names[table.labels[row]])} ({len(unmatched)} such queries); "
            "add one, or leave these queries out by data.allow_partial"
        )
    shared = np.intersect1d(
        table.labels[table.where(Role.TRAIN)], table.labels[table.where(Role.TEST)]
    )
    if len(shared):
        _logger.warning(
            "%s: %d classes have both training and test images, so test classes are not unseen",
            table.name,
            len(shared),
        )
    return table
