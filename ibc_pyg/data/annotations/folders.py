"""Folders of images: finding, listing, and files that are missing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ibc_pyg.data.annotations.listed_images import ListedImage, natural
from ibc_pyg.data.images.formats import SUFFIXES
from ibc_pyg.data.table import Role
from ibc_pyg.errors import DatasetError, printable, reason

# Of Synology (with thumbnails of the pictures beside it), Linux and Windows.
_OF_SYSTEMS = frozenset({"@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"})


def checked_root(root: Path) -> Path:
    """Expand `~` in `root` and check that it is a readable folder with content.

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
    """Return the first of `root` and its `subfolders` that contains a marker, or None."""
    for base in (root, *(root / name for name in subfolders)):
        if any((base / marker).exists() for marker in markers):
            return base
    return None


def present(root: Path, paths: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which files exist, bool `[M]`, from one listing per folder; links are followed.

    Raises:
        DatasetError: If a folder cannot be read.
    """
    folders: dict[str, set[str]] = {}
    found = np.zeros(len(paths), dtype=np.bool_)
    for row, path in enumerate(paths):
        folder, file = os.path.split(path)
        if folder not in folders:
            folders[folder] = files_of(root / folder)
        found[row] = file in folders[folder]
    return found


def files_of(folder: Path) -> set[str]:
    """Return the names of the files in `folder`, links included; none if it does not exist.

    Raises:
        DatasetError: If the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise DatasetError(
            f"folder {printable(folder)} cannot be read: {error.strerror}"
        ) from error


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, as `._x.jpg` of macOS, or of the system."""
    return name.startswith(".") or name in _OF_SYSTEMS


def is_image(path: str) -> bool:
    """Return whether a file has the suffix of an image that can be read."""
    return PurePosixPath(path).suffix.lower() in SUFFIXES


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders in `folder`, except hidden ones, in natural order.

    Raises:
        DatasetError: If the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.is_dir() and not is_hidden(e.name)]
    except OSError as error:
        raise DatasetError(
            f"folder {printable(folder)} cannot be read: {error.strerror}"
        ) from error
    return sorted(names, key=natural)


def files_below(root: Path, folder: str) -> list[str]:
    """Return the files below `root / folder` that are not hidden, relative to `root`.

    They are in natural order. Symbolic links are followed, each folder once.

    Raises:
        DatasetError: If the name of an image is not valid UTF-8, or a folder cannot be read.
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
        folders[:] = [name for name in folders if not is_hidden(name)]
        relative = Path(here).relative_to(root)
        found += [(relative / name).as_posix() for name in files if not is_hidden(name)]
    for path in found:
        try:
            path.encode()
        except UnicodeEncodeError as error:
            if is_image(path):
                raise DatasetError(
                    f"{printable(root)}: file name {path!a} is not valid UTF-8; rename it"
                ) from error
    return sorted(found, key=natural)


def images_below(root: Path, folder: str) -> list[str]:
    """Return the image files below `root / folder`; see `files_below`."""
    return [path for path in files_below(root, folder) if is_image(path)]


def class_rows(root: Path, folder: str, role: Role) -> list[ListedImage]:
    """Return the images of `root / folder`, whose subfolders are the classes."""
    return [
        ListedImage(path, name, role)
        for name in subfolders(root / folder)
        for path in images_below(root, str(Path(folder) / name))
    ]


def ordered_split(
    root: Path, train_classes: int, pooled: tuple[str, ...]
) -> list[ListedImage] | None:
    """Return the images of class folders, the first `train_classes` classes for training.

    Args:
        root: Folder with `images/<class>/`, or of the class folders.
        train_classes: Number of training classes, the first in natural order.
        pooled: Folders of class folders that are merged by class name if all of them exist
            (`train/<class>/` and `test/<class>/` of a classification split).

    Returns:
        The images, or None if `root` has no class folders with images.
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
        ListedImage(row.path, row.label, Role.TRAIN if row.label in training else Role.TEST)
        for row in rows
    ]
