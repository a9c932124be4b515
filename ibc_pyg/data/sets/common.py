"""What all data sets share: finding the folder, building the table, asserting that it is whole."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ibc_pyg.data.annotations import printable, reason, shown
from ibc_pyg.data.table import ImageTable, Role, SplitSizes
from ibc_pyg.errors import DatasetError

_logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif"),
        *(".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
    }
)


class Source(Protocol):
    """A place in an annotation file."""

    def error(self, problem: str) -> DatasetError:
        """Return the error that names this place."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One image as an annotation file lists it.

    Attributes:
        path: Path relative to the root.
        label: The label as written: all integers or all strings in one set.
        role: What the image is used for.
        source: The line or entry that lists it, for messages.
    """

    path: str
    label: int | str
    role: Role
    source: Source | None = field(default=None, compare=False)


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key under which `class 2` comes before `class 10`."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple(
        (0, int(part[:18]), part) if part[0] in "0123456789" else (1, 0, part) for part in parts
    )


def checked_root(root: Path) -> Path:
    """Return `root` with `~` expanded, once it is known to be a readable folder.

    Raises:
        DatasetError: If it is missing, a file, unreadable or empty.
    """
    root = root.expanduser()
    try:
        with os.scandir(root) as entries:
            empty = next(entries, None) is None
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"data.root: folder {printable(root)} cannot be read: {reason(error)}"
        ) from error
    if empty:
        raise DatasetError(f"data.root: folder {printable(root)} is empty")
    return root


def find_base(root: Path, markers: Sequence[str], subfolders: Sequence[str]) -> Path | None:
    """Return the first of `root` and its `subfolders` that holds one of `markers`, or None."""
    for base in (root, *(root / name for name in subfolders)):
        if any((base / marker).exists() for marker in markers):
            return base
    return None


def build_table(
    name: str,
    root: Path | None,
    rows: Sequence[Row],
    names: Mapping[int, str] | None = None,
) -> ImageTable:
    """Give the classes numbers, training classes first and each part in natural order.

    Args:
        name: Name of the data set.
        root: Folder that the paths are relative to.
        rows: The images.
        names: Class names for integer labels; others are named by their label.

    Raises:
        DatasetError: If there are no rows, or one path is listed twice.
    """
    if not rows:
        raise DatasetError(f"{name}: no images listed under {printable(root or '')}")
    seen: set[str] = set()
    for row in rows:
        if row.path in seen:
            problem = f"image {shown(row.path, 200)} is listed twice"
            raise row.source.error(problem) if row.source else DatasetError(f"{name}: {problem}")
        seen.add(row.path)
    training = {row.label for row in rows if row.role & Role.TRAIN}
    others = {row.label for row in rows} - training
    order = [*sorted(training, key=_label_key), *sorted(others, key=_label_key)]
    number = {label: index for index, label in enumerate(order)}
    return ImageTable(
        name=name,
        paths=tuple(row.path for row in rows),
        labels=np.array([number[row.label] for row in rows], dtype=np.int64),
        roles=np.array([row.role.value for row in rows], dtype=np.uint8),
        class_names=tuple(
            names.get(label, str(label)) if names and isinstance(label, int) else str(label)
            for label in order
        ),
        root=root,
    )


def _label_key(label: int | str) -> tuple[tuple[int, int, str], ...]:
    return ((0, label, ""),) if isinstance(label, int) else natural(label)


def class_base(labels: Iterable[int]) -> int:
    """Return 0 if class numbers start at 0, else 1."""
    return 0 if 0 in labels else 1


def present(root: Path, paths: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which files are there, bool `[M]`; one directory listing per folder, links followed.

    Raises:
        DatasetError: If a folder may not be read.
    """
    folders: dict[str, set[str]] = {}
    found = np.zeros(len(paths), dtype=np.bool_)
    for row, path in enumerate(paths):
        folder, file = os.path.split(path)
        if folder not in folders:
            folders[folder] = _files_of(root / folder)
        found[row] = file in folders[folder]
    return found


def _files_of(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise DatasetError(
            f"folder {printable(folder)} cannot be read: {error.strerror}"
        ) from error


def finish(
    table: ImageTable, *, expected: SplitSizes | None = None, allow_partial: bool = False
) -> ImageTable:
    """Assert that the images are there and the split has its published sizes.

    Args:
        table: What the annotation files say, with `root`.
        expected: Published sizes; None for a set of the user's own.
        allow_partial: Whether to go on with what is there. Classes are then numbered anew, and
            test images without any match are left out; both are logged.

    Raises:
        DatasetError: If the set is not whole and that is not allowed, or nothing is there.
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
                raise DatasetError(f"{report}; put them there")
            if not allow_partial:
                raise DatasetError(
                    f"{report}; put them there or go on with the others by data.allow_partial"
                )
            _logger.warning("%s; going on with the others", report)
            table = table.take(np.flatnonzero(there))
    if expected is not None and table.sizes() != expected:
        sizes = table.sizes()
        lacking = expected.train_images + expected.test_images - len(table)
        report = (
            f"{table.name}: the set is not whole"
            + (f", {lacking:,} images are not listed" if lacking > 0 else "")
            + f": {sizes}; the published split has {expected}"
        )
        if not allow_partial:
            raise DatasetError(f"{report}; complete it or go on by data.allow_partial")
        _logger.warning("%s; results are not comparable", report)
    return without_unmatched(table).compact() if allow_partial else table


def without_unmatched(table: ImageTable) -> ImageTable:
    """Leave out test images for which no right answer exists, and say so in the _logger."""
    rows = table.unmatched()
    if not len(rows):
        return table
    _logger.warning(
        "%s: %d test images have no other image of their class to be found and are left out: %s%s",
        table.name,
        len(rows),
        ", ".join(shown(table.paths[row], 200) for row in rows[:5]),
        ", ..." if len(rows) > 5 else "",
    )
    keep = np.setdiff1d(np.arange(len(table)), rows)
    return table.take(keep)
