"""Table of images with labels and roles, the common form of all data sets."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ibc_pyg.errors import DatasetError

Rows = npt.NDArray[np.int64]
"""Row numbers of a table, int64."""


class Role(enum.IntFlag):
    """Use of an image. In most data sets a test image is both query and gallery image.

    VAL marks the images of a given validation part.
    """

    TRAIN = 1
    QUERY = 2
    GALLERY = 4
    TEST = QUERY | GALLERY
    VAL = 8


@dataclass(frozen=True)
class SplitSizes:
    """Numbers of classes and images of a split.

    Attributes:
        train_classes: Classes with training images.
        train_images: Training images.
        test_classes: Classes with query or gallery images.
        test_images: Images that are query, gallery or both.
        query_images: Query images.
        gallery_images: Gallery images.
        val_classes: Classes with validation images.
        val_images: Images of a given validation part.
    """

    train_classes: int
    train_images: int
    test_classes: int
    test_images: int
    query_images: int
    gallery_images: int
    val_classes: int = 0
    val_images: int = 0

    def __str__(self) -> str:
        """Return the sizes as a phrase."""
        val = ""
        if self.val_images:
            val = f"{self.val_images:,} validation images of {self.val_classes:,} classes, "
        same = self.test_images == self.query_images == self.gallery_images
        test = (
            f"{self.test_images:,} test images"
            if same
            else f"{self.query_images:,} query and {self.gallery_images:,} gallery images"
        )
        return (
            f"{self.train_images:,} training images of {self.train_classes:,} classes, {val}"
            f"{test} of {self.test_classes:,} classes"
        )


@dataclass(frozen=True)
class ImageTable:
    """Images with labels and roles; the images are files or one array in memory.

    Every loader numbers the training classes first: training labels are `0 ... T - 1` without
    gaps, so that a classifier needs `table.sizes().train_classes` outputs.

    Attributes:
        name: Name of the data set, as the command line knows it.
        paths: `M` image files relative to `root`; for a set in memory, a readable name per image.
        labels: Class index of each image, int64 `[M]`, in `[0, len(class_names))`.
        roles: `Role` flags of each image, uint8 `[M]`.
        class_names: One name per class.
        root: Folder that `paths` are relative to; None for a set in memory.
        images: The images of a set in memory, uint8 `[M, H, W, C]` with C = 1 or 3; else None.
    """

    name: str
    paths: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    roles: npt.NDArray[np.uint8]
    class_names: tuple[str, ...]
    root: Path | None = None
    images: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Check that the columns match.

        Raises:
            DatasetError: If lengths differ, or a label has no class name.
        """
        sizes = {"paths": len(self.paths), "labels": len(self.labels), "roles": len(self.roles)}
        if self.images is not None:
            sizes["images"] = len(self.images)
        if len(set(sizes.values())) > 1:
            raise DatasetError(f"{self.name}: columns differ in length: {sizes}")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(
            self.class_names
        ):
            raise DatasetError(
                f"{self.name}: labels run from {self.labels.min()} to {self.labels.max()}, "
                f"but there are {len(self.class_names)} class names"
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Height, width and channels of the images of a set in memory; None for files."""
        held = self.images
        return None if held is None else (held.shape[1], held.shape[2], held.shape[3])

    def where(self, role: Role) -> npt.NDArray[np.int64]:
        """Return the row numbers, int64 `[n]` ascending, of the images that have `role`."""
        return np.flatnonzero(self.roles & role.value)

    def take(self, rows: npt.NDArray[np.int64]) -> ImageTable:
        """Return the table of these rows; class names and labels are unchanged."""
        return replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            labels=self.labels[rows],
            roles=self.roles[rows],
            images=None if self.images is None else self.images[rows],
        )

    def sizes(self) -> SplitSizes:
        """Return the number of classes and images of each part."""
        train, val, test = (self.where(role) for role in (Role.TRAIN, Role.VAL, Role.TEST))
        return SplitSizes(
            train_classes=len(np.unique(self.labels[train])),
            train_images=len(train),
            test_classes=len(np.unique(self.labels[test])),
            test_images=len(test),
            query_images=len(self.where(Role.QUERY)),
            gallery_images=len(self.where(Role.GALLERY)),
            val_classes=len(np.unique(self.labels[val])),
            val_images=len(val),
        )

    def compact(self) -> ImageTable:
        """Return the table with classes renumbered without gaps, training classes first."""
        train = np.unique(self.labels[self.where(Role.TRAIN)])
        order = np.concatenate([train, np.setdiff1d(self.labels, train)])  # [C']
        number = np.zeros(len(self.class_names), dtype=np.int64)
        number[order] = np.arange(len(order))
        return replace(
            self,
            labels=number[self.labels],
            class_names=tuple(self.class_names[label] for label in order),
        )

    def single_image_classes(self) -> npt.NDArray[np.int64]:
        """Return the labels, int64 ascending, of classes that have exactly one image."""
        return np.flatnonzero(np.bincount(self.labels, minlength=len(self.class_names)) == 1)

    def unmatched(self) -> npt.NDArray[np.int64]:
        """Return the rows, int64 ascending, of queries without a match in the gallery."""
        gallery = np.bincount(
            self.labels[self.where(Role.GALLERY)], minlength=len(self.class_names)
        )  # [C]
        query = self.where(Role.QUERY)
        itself = (self.roles[query] & Role.GALLERY.value) > 0
        return query[gallery[self.labels[query]] - itself < 1]
