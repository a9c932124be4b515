"""Class folders: their images, and the files and folders that are passed over."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ibc_pyg.data.annotations.folders import (
    files_below,
    files_of,
    is_hidden,
    is_image,
    subfolders,
)
from ibc_pyg.data.annotations.listed_images import ListedImage, natural
from ibc_pyg.data.images.formats import HEIF_SUFFIXES, SUFFIXES
from ibc_pyg.data.table import Role
from ibc_pyg.errors import shown

_logger = logging.getLogger(__name__)

SHOWN = 5
_OF_SYSTEMS = frozenset({"thumbs.db", "desktop.ini"})
_PICTURES = SUFFIXES | HEIF_SUFFIXES | {".avif"}


@dataclass(frozen=True, slots=True)
class ClassFolder:
    """A folder of the images of a class.

    Attributes:
        path: The folder, relative to the root.
        images: Its images, relative to the root, in natural order.
        unread: Number of its other files by suffix, in lower case.
    """

    path: PurePosixPath
    images: Sequence[str]
    unread: Counter[str]

    @property
    def label(self) -> str:
        """Name of the class; names that differ only in their Unicode form are one class."""
        return unicodedata.normalize("NFC", self.path.name)

    def rows(self, role: Role) -> list[ListedImage]:
        """Return the images with a role."""
        return [ListedImage(path, self.label, role) for path in self.images]


def class_folder(root: Path, path: PurePosixPath) -> ClassFolder:
    """Return the folder `root / path` with all images below it.

    Raises:
        DatasetError: If a name is not valid UTF-8, or a folder cannot be read.
    """
    images, unread = [], Counter[str]()
    for file in files_below(root, str(path)):
        name = PurePosixPath(file)
        if is_image(file):
            images.append(file)
        elif name.name.lower() not in _OF_SYSTEMS:
            unread[name.suffix.lower()] += 1
    return ClassFolder(path, images, unread)


def class_folders(root: Path, folder: str) -> list[ClassFolder]:
    """Return the folders in `root / folder`, in natural order; raises as `class_folder`."""
    within = PurePosixPath(folder)
    return [class_folder(root, within / name) for name in subfolders(root / folder)]


def loose_pictures(root: Path, folder: str) -> list[str]:
    """Return the picture files directly in `root / folder`, which belong to no class.

    Raises:
        DatasetError: If the folder cannot be read.
    """
    within = PurePosixPath(folder)
    names = [name for name in files_of(root / folder) if not is_hidden(name)]
    return sorted((str(within / name) for name in names if _suffix(name) in _PICTURES), key=natural)


@dataclass(frozen=True)
class PassedOver:
    """Files and folders of a data set that are not read.

    Attributes:
        folders: Folders without an image that can be read.
        unused: Folders of images that the layout leaves out.
        loose: Pictures outside a class folder.
        files: Number of other files in class folders, by suffix.
    """

    folders: Sequence[ClassFolder]
    unused: Sequence[ClassFolder]
    loose: Sequence[str]
    files: Counter[str]

    def __str__(self) -> str:
        """Return all of it in one line, empty if there is nothing."""
        groups = (
            (
                "folders without a readable picture",
                [f"{shown(str(f.path))} ({_counts(f.unread) or 'nothing'})" for f in self.folders],
            ),
            (
                "folders beside the parts, with pictures",
                [f"{shown(str(f.path))} ({len(f.images):,})" for f in self.unused],
            ),
            ("pictures in no class folder", [shown(path) for path in self.loose]),
        )
        said = [f"{len(named):,} {title}: {_first(named)}" for title, named in groups if named]
        if self.files:
            said.append(f"other files in class folders: {_counts(self.files)}")
        suffixes = {*self.files, *map(_suffix, self.loose)}.union(*(f.unread for f in self.folders))
        if suffixes & HEIF_SUFFIXES - SUFFIXES:
            said.append("install pillow-heif to read .heic files")
        return "; ".join(said)

    def warn(self, name: str) -> None:
        """Log a warning about a data set, if anything is passed over."""
        if line := str(self):
            _logger.warning("%s: passed over: %s", name, line)


def passed_over(
    folders: Sequence[ClassFolder],
    loose: Sequence[str] = (),
    unused: Sequence[ClassFolder] = (),
) -> PassedOver:
    """Collect what is passed over.

    Args:
        folders: Folders of which those with images are read.
        loose: Pictures outside them.
        unused: Folders of which none is read.
    """
    files = Counter[str]()
    for each in folders:
        if each.images:
            files += each.unread
    empty = [each for each in (*folders, *unused) if not each.images]
    return PassedOver(empty, [each for each in unused if each.images], loose, files)


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _counts(unread: Counter[str]) -> str:
    ordered = sorted(unread.items(), key=lambda item: (-item[1], item[0]))
    return _first([f"{count:,} {suffix or 'without suffix'}" for suffix, count in ordered])


def _first(named: Sequence[str]) -> str:
    more = f", and {len(named) - SHOWN:,} more" if len(named) > SHOWN else ""
    return ", ".join(named[:SHOWN]) + more
