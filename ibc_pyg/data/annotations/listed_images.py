"""Listed images, and the table they become."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.errors import DatasetError, printable, shown


class Source(Protocol):
    """A position in an annotation file."""

    def error(self, problem: str) -> DatasetError:
        """Return the error that names this position."""
        ...


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One image listed in an annotation file or found in a folder.

    Attributes:
        path: Path relative to the root.
        label: The label as written; one data set has only integers or only strings.
        role: Use of the image.
        source: The line or entry of the annotation file, for messages.
    """

    path: str
    label: int | str
    role: Role
    source: Source | None = field(default=None, compare=False)


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts `class 2` before `class 10`."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple(
        (0, int(part[:18]), part) if part[0] in "0123456789" else (1, 0, part) for part in parts
    )


def build_table(
    name: str,
    root: Path | None,
    rows: Sequence[ListedImage],
    names: Mapping[int, str] | None = None,
) -> ImageTable:
    """Build a table; classes are numbered training first, each part in natural order.

    Args:
        name: Name of the data set.
        root: Folder of the relative paths.
        rows: The images.
        names: Class names of integer labels; other classes are named by their label.

    Raises:
        DatasetError: If there are no rows, or a path is listed twice.
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
