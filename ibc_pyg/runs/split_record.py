"""Record of the images of a run: paths, labels, roles and the split it was trained on."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ibc_pyg.data.splits import EvalSplit, Splits, splits_of
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.errors import RunError, UserError
from ibc_pyg.files import read_json, write_atomically

FORMAT = 1


@dataclass(frozen=True)
class SplitRecord:
    """Images of a run and their use.

    Attributes:
        table: All images of the data set when the run was made; without pixels, also of a set in
            memory.
        splits: Their use.
        image_shape: Height, width and channels of the images of a set in memory; None for files.
    """

    table: ImageTable
    splits: Splits
    image_shape: tuple[int, int, int] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes trained on, in the order of the model's logits."""
        labels = np.unique(self.table.labels[self.splits.train])
        return tuple(self.table.class_names[label] for label in labels)


def record_of(table: ImageTable, splits: Splits) -> SplitRecord:
    """Return the record of a data set that has been loaded."""
    return SplitRecord(replace(table, images=None), splits, table.image_shape)


def write_split(path: Path, record: SplitRecord, *, data_root: str | None) -> None:
    """Write a record as JSON, atomically.

    Args:
        path: The file.
        record: What to write.
        data_root: `data.root` of the configuration; the folder of the images is kept relative to
            it, so that a data set can move.

    Raises:
        RunError: If the file cannot be written.
    """
    table, val = record.table, record.splits.val
    content = {
        "format": FORMAT,
        "name": table.name,
        "root": _relative(table.root, data_root),
        "image_shape": record.image_shape,
        "class_names": table.class_names,
        "paths": table.paths,
        "labels": table.labels.tolist(),
        "roles": table.roles.tolist(),
        "val_rows": None if val is None else val.queries.tolist(),
    }
    # Paths that are not UTF-8 are kept by escapes.
    write_atomically(path, json.dumps(content).encode() + b"\n")


def read_split(path: Path, *, data_root: str | None) -> SplitRecord | None:
    """Read a record.

    Args:
        path: The file.
        data_root: `data.root` of the configuration.

    Returns:
        The record; None if there is no such file, as in runs of version 0.1.0.

    Raises:
        RunError: If the file is damaged or of a newer version.
    """
    if not path.is_file():
        return None
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise RunError(
            f"{path} has format {content.get('format')!r}, and this version reads {FORMAT}; "
            "update ibc_pyg"
        )
    try:
        table = _table(content, data_root)
        return SplitRecord(table, _splits(table, content["val_rows"]), _shape(content))
    except (KeyError, TypeError, ValueError, OverflowError, UserError) as error:
        raise RunError(f"{path} is damaged: {error!r}") from error


def _table(content: dict[str, Any], data_root: str | None) -> ImageTable:
    for name in ("paths", "class_names"):
        if not all(isinstance(each, str) for each in content[name]):
            raise ValueError(f"{name} must be texts")
    return ImageTable(
        str(content["name"]),
        tuple(content["paths"]),
        np.array(content["labels"], dtype=np.int64),
        np.array(content["roles"], dtype=np.uint8),
        tuple(content["class_names"]),
        _absolute(content["root"], data_root),
    )


def _splits(table: ImageTable, val_rows: list[int] | None) -> Splits:
    train, given = table.where(Role.TRAIN), table.where(Role.VAL)
    val = None
    if val_rows is not None:
        val = EvalSplit(np.array(val_rows, dtype=np.int64))
        if len(np.setdiff1d(val.queries, np.union1d(train, given))):
            raise ValueError("val_rows are neither training nor validation images")
        train = np.setdiff1d(train, val.queries)
    return splits_of(table, train, val)


def _shape(content: dict[str, Any]) -> tuple[int, int, int] | None:
    shape = content["image_shape"]
    if shape is None:
        return None
    height, width, channels = (int(size) for size in shape)
    if not (0 < height <= 2**16 and 0 < width <= 2**16 and channels in (1, 3)):
        raise ValueError(f"image_shape is {shape}")
    return height, width, channels


def _base(data_root: str | None) -> Path | None:
    """Return the folder that `data.root` names; that of a CSV file is its folder."""
    if data_root is None:
        return None
    root = Path(data_root).expanduser()
    return root.parent if root.is_file() or root.suffix.lower() == ".csv" else root


def _relative(root: Path | None, data_root: str | None) -> str | None:
    base = _base(data_root)
    if root is None or base is None:
        return None if root is None else str(root.resolve())
    return os.path.relpath(root.resolve(), base.resolve())


def _absolute(root: str | None, data_root: str | None) -> Path | None:
    if root is None:
        return None
    base = _base(data_root)
    return Path(root) if base is None else Path(os.path.normpath(base / root))
