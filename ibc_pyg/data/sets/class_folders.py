"""Listing folders of images, one folder per class."""

from __future__ import annotations

import os
from pathlib import Path

from ibc_pyg.data.annotations import printable
from ibc_pyg.data.sets.common import IMAGE_SUFFIXES, Row, natural
from ibc_pyg.data.table import Role
from ibc_pyg.errors import DatasetError


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders in `folder`, hidden ones left out, in natural order.

    Raises:
        DatasetError: If the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    except OSError as error:
        raise DatasetError(
            f"folder {printable(folder)} cannot be read: {error.strerror}"
        ) from error
    return sorted(names, key=natural)


def images_below(root: Path, folder: str) -> list[str]:
    """Return the image files below `root / folder`, relative to `root`, in natural order.

    Hidden files (`._x.jpg` of macOS) and files that are no images by their suffix are left out.
    Symbolic links are followed, each folder once.

    Raises:
        DatasetError: If a name is not valid UTF-8, or a folder cannot be read.
    """
    found: list[str] = []
    seen: set[str] = set()

    def fail(error: OSError) -> None:
        raise DatasetError(
            f"folder {printable(error.filename)} cannot be read: {error.strerror}"
        ) from error

    for here, folders, files in os.walk(root / folder, followlinks=True, onerror=fail):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = Path(here).relative_to(root)
        found += [
            (relative / name).as_posix()
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    for path in found:
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise DatasetError(
                f"{printable(root)}: file name {path!a} is not valid UTF-8; rename it"
            ) from error
    return sorted(found, key=natural)


def class_rows(root: Path, folder: str, role: Role) -> list[Row]:
    """Return the images of `root / folder`, whose subfolders are the classes."""
    return [
        Row(path, name, role)
        for name in subfolders(root / folder)
        for path in images_below(root, str(Path(folder) / name))
    ]


def ordered_split(root: Path, train_classes: int, pooled: tuple[str, ...]) -> list[Row] | None:
    """Return the images of class folders, the first `train_classes` classes for training.

    Args:
        root: Folder with `images/<class>/`, or with the class folders themselves.
        train_classes: How many classes in natural order are for training.
        pooled: Folders of class folders that are joined by class name when all are there
            (`train/<class>/` with `test/<class>/` of a classification split).

    Returns:
        The rows, or None if `root` holds no class folders with images.
    """
    if (root / "images").is_dir():
        parts: tuple[str, ...] = ("images",)
    elif pooled and all((root / part).is_dir() for part in pooled):
        parts = pooled
    else:
        parts = (".",)
    rows = [row for part in parts for row in class_rows(root, part, Role.TEST)]
    if not rows:
        return None
    order = sorted({str(row.label) for row in rows}, key=natural)
    training = set(order[:train_classes])
    return [
        Row(row.path, row.label, Role.TRAIN if row.label in training else Role.TEST) for row in rows
    ]
