"""Parts of a user's data set: their names, and the use of a validation part."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from ibc_pyg.data.annotations.listed_images import ListedImage
from ibc_pyg.data.table import Role

_logger = logging.getLogger(__name__)

PARTS = ("train", "val", "test", "query", "gallery")
"""Names of the parts, for messages."""

_ROLES = {
    "train": Role.TRAIN,
    "training": Role.TRAIN,
    "val": Role.VAL,
    "valid": Role.VAL,
    "validation": Role.VAL,
    "test": Role.TEST,
    "testing": Role.TEST,
    "query": Role.QUERY,
    "gallery": Role.GALLERY,
}


def part_role(name: str) -> Role | None:
    """Return the role of the images of a part; None if the name is not that of a part."""
    return _ROLES.get(name.lower())


def settle_validation(name: str, rows: Sequence[ListedImage]) -> list[ListedImage]:
    """Decide the use of the validation images of a data set, with a warning in the log.

    Without a test part they are the test images, which may be marked as query or gallery. Beside a
    test part, they select the epoch if their classes are in no other part; otherwise they are left
    out, because the scores would not be those of unseen classes.

    Args:
        name: Name of the data set.
        rows: The images.
    """
    val = [row for row in rows if row.role & Role.VAL]
    if not val:
        return list(rows)
    others = [row for row in rows if not row.role & Role.VAL]
    if not any(row.role & Role.TEST for row in others):
        _logger.warning("%s: there is no test part; the validation part is tested on", name)
        return [
            replace(row, role=(row.role & Role.TEST) or Role.TEST) if row.role & Role.VAL else row
            for row in rows
        ]
    classes = {row.label for row in val}
    shared = classes & {row.label for row in others}
    if shared:
        _logger.warning(
            "%s: %d of %d validation classes are also in other parts; the %d validation images are "
            "not used",
            name,
            len(shared),
            len(classes),
            len(val),
        )
        return others
    if any(row.role & Role.TEST for row in val):
        _logger.warning(
            "%s: is_query and is_gallery are not used for validation images beside a test part: "
            "each one is searched for among the others",
            name,
        )
    return [replace(row, role=Role.VAL) if row.role & Role.VAL else row for row in rows]
