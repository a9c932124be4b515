"""The one table that every data set becomes."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ibc_pyg.errors import DatasetError


class Role(enum.IntFlag):
    """What an image is used for. In most sets a test image is query and gallery at once."""

    TRAIN = 1
    QUERY = 2
    GALLERY = 4
    TEST = QUERY | GALLERY


@dataclass(frozen=True)
class ImageTable:
    """Images with labels and roles; the images are files, or one array in memory.

    Attributes:
        name: Name of the data set, as the command line knows it.
        paths: `M` image files relative to `root`; for a set in memory, a readable name per image.
        labels: Class index of each image, int64 `[M]`, in `[0, len(class_names))`.
        roles: `Role` flags of each image, uint8 `[M]`.
        class_names: One name per class.
        root: Folder that `paths` are relative to; None for a set in memory.
        images: The pictures of a set in memory, uint8 `[M, H, W, C]` with C = 1 or 3; else None.
    """

    name: str
    paths: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    roles: npt.NDArray[np.uint8]
    class_names: tuple[str, ...]
    root: Path | None = None
    images: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Check that the columns belong together.

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

    def where(self, role: Role) -> npt.NDArray[np.int64]:
        """Return the row numbers, int64 `[n]` ascending, of the images that have `role`."""
        return np.flatnonzero(self.roles & role.value)

    def take(self, rows: npt.NDArray[np.int64]) -> ImageTable:
        """Return the table of these rows; class names and numbers stay as they are."""
        return replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            labels=self.labels[rows],
            roles=self.roles[rows],
            images=None if self.images is None else self.images[rows],
        )
