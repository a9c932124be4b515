"""Checks that a data set is complete."""

from __future__ import annotations

import logging

import numpy as np

from ibc_pyg.data.annotations.folders import present
from ibc_pyg.data.table import ImageTable, Role, SplitSizes
from ibc_pyg.errors import DatasetError, printable, shown

_logger = logging.getLogger(__name__)


def check_complete(
    table: ImageTable, *, expected: SplitSizes | None = None, allow_partial: bool = False
) -> ImageTable:
    """Check that the images exist and that the split has its published sizes.

    Args:
        table: The listed images, with `root`.
        expected: Published sizes; None for a data set of the user.
        allow_partial: Whether an incomplete set is accepted. Classes are then renumbered, and test
            images without any match are removed, with a warning in the log.

    Raises:
        DatasetError: If the set is incomplete and that is not allowed, or no image exists.
    """
    if table.root is not None:
        there = present(table.root, table.paths)
        missing = np.flatnonzero(~there)
        if len(missing):
            first = ", ".join(shown(table.paths[row], 200) for row in missing[:5])
            where = printable(table.root)
            report = (
                f"{table.name}: {len(missing):,} of {len(table):,} images are missing under "
                f"{where}: {first}{', ...' if len(missing) > 5 else ''}"
            )
            if len(missing) == len(table):
                raise DatasetError(f"{report}; add them")
            if not allow_partial:
                raise DatasetError(f"{report}; add them, or use the others with data.allow_partial")
            _logger.warning("%s; using the others", report)
            table = table.take(np.flatnonzero(there))
    if expected is not None and table.sizes() != expected:
        sizes = table.sizes()
        lacking = expected.train_images + expected.test_images - len(table)
        report = (
            f"{table.name}: the data set is incomplete"
            + (f", {lacking:,} images are not listed" if lacking > 0 else "")
            + f": {sizes}; the published split has {expected}"
        )
        if not allow_partial:
            raise DatasetError(f"{report}; complete it, or use it with data.allow_partial")
        _logger.warning("%s; results are not comparable", report)
    return without_unmatched(table).compact() if allow_partial else table


def without_unmatched(table: ImageTable) -> ImageTable:
    """Remove test images without a match in the gallery, with a warning in the log."""
    rows = table.unmatched()
    if not len(rows):
        return table
    _logger.warning(
        "%s: %d test images have no other image of their class and are removed: %s%s",
        table.name,
        len(rows),
        ", ".join(shown(table.paths[row], 200) for row in rows[:5]),
        ", ..." if len(rows) > 5 else "",
    )
    keep = np.setdiff1d(np.arange(len(table)), rows)
    return table.take(keep)


def check_user_set(table: ImageTable, *, allow_partial: bool) -> ImageTable:
    """Check a user's data set: files exist, classes have two images, every query a match.

    A class of one image is allowed if the image is only searched, as a distractor in a gallery.

    Raises:
        DatasetError: If files are missing, a class has one image, or a query has no match. With
            `allow_partial`, training classes of one image are kept, and missing files and
            queries without a match are removed with a warning in the log.
    """
    table = check_complete(table, allow_partial=allow_partial)
    searched = table.labels[table.roles == Role.GALLERY.value]
    single = np.setdiff1d(table.single_image_classes(), searched)
    if len(single) and not allow_partial:
        label = int(single[0])
        row = int(np.flatnonzero(table.labels == label)[0])
        more = f" (and {len(single) - 1} more such classes)" if len(single) > 1 else ""
        raise DatasetError(
            f"{table.name}: class {shown(table.class_names[label])} has one image, "
            f"{shown(table.paths[row], 200)}{more}; add a second one, remove the class, "
            "or accept it with data.allow_partial"
        )
    unmatched = table.unmatched()
    if len(unmatched) and not allow_partial:
        row = int(unmatched[0])
        raise DatasetError(
            f"{table.name}: query {shown(table.paths[row], 200)} has no gallery image of its class "
            f"{shown(table.class_names[table.labels[row]])} ({len(unmatched)} such queries); "
            "add one, or remove these queries with data.allow_partial"
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
