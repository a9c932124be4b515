"""Sources of images: memory or files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.data.images.encoded import EncodedImage, read_encoded
from ibc_pyg.data.table import ImageTable, Rows
from ibc_pyg.data.transforms.base import Images

OnError = Literal["stop", "skip"]
"""Whether an image that cannot be read stops the work or is skipped."""


class ImageSource(ABC):
    """Images of a table, read by row."""

    @abstractmethod
    def read(self, row: int) -> Tensor | EncodedImage:
        """Return one image, uint8 `[C, H, W]`, or its file if it is to be decoded later.

        Raises:
            DatasetError: If it cannot be read; names the file.
        """

    def read_all(self, rows: Rows) -> Images | None:
        """Return the images of `rows` if they are in memory; None if each is read by itself."""
        return None


class MemorySource(ImageSource):
    """Images of one size held in memory.

    Args:
        images: uint8 `[M, H, W, C]`.
    """

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        channels_first = np.moveaxis(images, -1, 1)  # [M, C, H, W]
        # torch asks for writable memory, and a table may hold a read-only array.
        self._images = torch.from_numpy(np.require(channels_first, requirements=["C", "W"]))

    def read(self, row: int) -> Tensor:
        """Return one image, uint8 `[C, H, W]`."""
        return self._images[row]

    def read_all(self, rows: Rows) -> Images:
        """Return the images of `rows`, uint8 `[B, C, H, W]`."""
        return self._images[torch.tensor(rows)]  # [B, C, H, W]


class FileSource(ImageSource):
    """Images decoded from their files at each read.

    Args:
        table: The image files.
        shrink_to: Decode large JPEGs at a smaller size; see `decode_image`.
        encoded: Leave JPEG files to be decoded later; see `read_encoded`.
    """

    def __init__(
        self, table: ImageTable, *, shrink_to: int | None = None, encoded: bool = False
    ) -> None:
        self._paths = table.paths
        self._root = table.root or Path()
        self._shrink_to = shrink_to
        self._encoded = encoded

    def read(self, row: int) -> Tensor | EncodedImage:
        """Return one image, uint8 `[3, H, W]`, or its file.

        Raises:
            DatasetError: If it cannot be read; names the file.
        """
        path = self._root / self._paths[row]
        if self._encoded:
            return read_encoded(path)
        return decode_image(path, shrink_to=self._shrink_to)


def open_source(table: ImageTable, *, shrink_to: int | None = None) -> ImageSource:
    """Return the source of the images of `table`: memory if it holds them, else its files."""
    if table.images is not None:
        return MemorySource(table.images)
    return FileSource(table, shrink_to=shrink_to)
