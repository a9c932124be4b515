"""What a loader hands out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Skipped:
    """An image that could not be read, and why.

    Attributes:
        row: Its row in the table.
        reason: What is wrong with it; names the file.
    """

    row: int
    reason: str


@dataclass(frozen=True)
class Batch:
    """Images with their labels.

    Attributes:
        images: float32 `[B, C, H, W]`, transformed.
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

    def pin_memory(self, device: object = None) -> Batch:
        """Return the batch in page-locked memory; `DataLoader` calls this."""
        return replace(
            self,
            images=self.images.pin_memory(),
            labels=self.labels.pin_memory(),
            rows=self.rows.pin_memory(),
        )

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with images and labels on `device`; `rows` stay on the CPU."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
        )
