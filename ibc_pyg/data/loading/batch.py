"""Batches of images, finished and on their way from a worker."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ibc_pyg.data.images.encoded import EncodedCrops


@dataclass(frozen=True)
class Skipped:
    """An image that could not be read, and why.

    Attributes:
        row: Its row in the table.
        reason: Error message; names the file.
    """

    row: int
    reason: str


@dataclass(frozen=True)
class Batch:
    """Images with their labels.

    Attributes:
        images: float32 `[B, C, H, W]`, transformed; in memory as `Loading.channels_last` says.
        labels: Class of each image in the table, int64 `[B]`.
        rows: Row of each image in the table, int64 `[B]`.
        skipped: Images that should have been in the batch and could not be read.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        """Return the number of images B."""
        return len(self.rows)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with images and labels on `device`; `rows` stay on the CPU."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class Pixels:
    """A batch as a worker sends it, before the last part of the transform.

    Attributes:
        pixels: uint8 `[B, S, S, C]`, or crops `[B, H, W, C]` with `sizes`.
        draws: Random numbers of the transform for the global batch of G images,
            `[G, num_draws]`; None for test images.
        labels: int64 `[B]`.
        rows: int64 `[B]`.
        skipped: Images that could not be read.
        first: Index of the first image in the global batch.
        sizes: Heights and widths of crops that are not scaled yet, int64 `[B, 2]`.
        encoded: Crops that are not decoded yet; their `pixels` are not set.
    """

    pixels: Tensor
    draws: npt.NDArray[np.float64] | None
    labels: Tensor
    rows: Tensor
    skipped: tuple[Skipped, ...] = ()
    first: int = 0
    sizes: Tensor | None = None
    encoded: EncodedCrops | None = None

    def pin_memory(self, device: object = None) -> Pixels:
        """Return the batch in page-locked memory; `DataLoader` calls this."""
        return replace(self, pixels=self.pixels.pin_memory(), labels=self.labels.pin_memory())


@dataclass(frozen=True)
class ReadFailure:
    """Message of a `DatasetError` in a worker; raising it there would add a traceback."""

    message: str
