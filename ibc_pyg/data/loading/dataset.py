"""Data set of whole batches: from row numbers to pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ibc_pyg.data.images.encoded import EncodedCrops, EncodedImage
from ibc_pyg.data.images.sources import ImageSource, OnError
from ibc_pyg.data.loading.batch import Pixels, ReadFailure, Skipped
from ibc_pyg.data.table import Rows
from ibc_pyg.data.transforms.base import Draws, Images, Transform, image_sizes
from ibc_pyg.data.transforms.batched_resize import padded
from ibc_pyg.errors import DatasetError, UserError

MAX_HELD = 256 * 2**20
"""Bytes of decoded images after which they are transformed, before more of a batch are decoded."""

# First word of the seed sequences of augmentation; see `ibc_pyg.data.sampling.base`.
_STREAM = 2


@dataclass(frozen=True)
class BatchKey:
    """Rows of a batch and its position in the run.

    Attributes:
        rows: Rows of the table, int64 `[B]`.
        epoch: Epoch of training; None for test images.
        step: Index of the batch in its epoch.
        first: Index of `rows[0]` in the global batch.
        batch_size: Images in the global batch.
    """

    rows: Rows
    epoch: int | None = None
    step: int = 0
    first: int = 0
    batch_size: int = 0


class BatchDataset(Dataset["Pixels | ReadFailure"]):
    """Pixels of whole batches, by `BatchKey`.

    The random numbers of a training batch are drawn for the global batch from
    `(seed, epoch, step)`, and each process takes those of its share: they are independent of the
    numbers of workers and processes, and resuming needs no saved state.

    An image that cannot be read stops the run. With `on_error="skip"` it is listed in the batch's
    `skipped` and replaced by the next readable image of its class (training) or left out (test).

    Args:
        source: Source of the images.
        labels: Class of each row, int64 `[M]`.
        transform: Transform of the images.
        seed: Seed of the run.
        on_error: Handling of an image that cannot be read.
    """

    def __init__(
        self,
        source: ImageSource,
        labels: Rows,
        transform: Transform,
        *,
        seed: int = 0,
        on_error: OnError = "stop",
    ) -> None:
        self.source = source
        self.labels = labels
        self.transform = transform
        self.seed = seed
        self.on_error = on_error

    def __getitem__(self, key: BatchKey) -> Pixels | ReadFailure:
        """Return the batch, or the reason why it cannot be read."""
        try:
            return self.load(key)
        except UserError as error:
            return ReadFailure(str(error))

    def load(self, key: BatchKey) -> Pixels:
        """Return the batch.

        Raises:
            DatasetError: If an image cannot be read and `on_error` is "stop", or no image of its
                class can be read.
        """
        draws = None
        if key.epoch is not None:
            rng = np.random.default_rng([_STREAM, self.seed, key.epoch, key.step])
            draws = rng.random((key.batch_size, self.transform.num_draws))
        parts, sizes, encoded = list[Tensor](), list[Tensor](), list[EncodedCrops]()
        rows, skipped = list[int](), list[Skipped]()
        for images, of_part in self._read(key, skipped):
            first = key.first + len(rows)
            own = None if draws is None else draws[first : first + len(of_part)]
            if own is not None and self.transform.crops_only:
                boxes = self.transform.boxes(image_sizes(images), own)
                sizes.append(torch.from_numpy(boxes[:, 2:]))  # [b, 2]
                if (files := EncodedCrops.of(images, boxes, len(rows))) is not None:
                    encoded.append(files)
                parts.append(self.transform.crops(_decoded(images), boxes))  # [b, h, w, C]
            else:
                parts.append(self._transformed(_decoded(images), own))  # [b, S, S, C]
            rows += of_part
        pixels = parts[0] if len(parts) == 1 else padded(parts or [self._transformed([], None)])
        found = np.array(rows, dtype=np.int64)
        labels = torch.from_numpy(self.labels[found])
        return Pixels(
            pixels,
            draws,
            labels,
            torch.from_numpy(found),
            tuple(skipped),
            key.first,
            torch.cat(sizes) if sizes else None,
            EncodedCrops.joined(encoded),
        )

    def _transformed(self, images: Images, draws: Draws | None) -> Tensor:
        if draws is None:
            return self.transform.fit(images)  # [b, S, S, C]
        return self.transform.pixels(images, draws)  # [b, S, S, C]

    def _read(
        self, key: BatchKey, skipped: list[Skipped]
    ) -> Iterator[tuple[Sequence[Tensor | EncodedImage] | Tensor, list[int]]]:
        """Yield the images and rows of a batch, in parts that bound what is held at full size."""
        if (whole := self.source.read_all(key.rows)) is not None:
            yield whole, key.rows.tolist()
            return
        images, rows, held = list[Tensor | EncodedImage](), list[int](), 0
        for row in key.rows.tolist():
            for candidate in self._candidates(row, replace=key.epoch is not None):
                try:
                    image = self.source.read(candidate)
                except DatasetError as error:
                    if self.on_error == "stop":
                        raise
                    skipped.append(Skipped(candidate, str(error)))
                    continue
                images.append(image)
                rows.append(candidate)
                held += image.nbytes
                break
            else:
                if key.epoch is not None:
                    raise DatasetError(
                        f"no image of class {self.labels[row]} can be read; remove the class from "
                        f"the data set or restore its images ({skipped[-1].reason})"
                    )
            if held > MAX_HELD:
                yield images, rows
                images.clear()
                rows.clear()
                held = 0
        if rows:
            yield images, rows

    def _candidates(self, row: int, *, replace: bool) -> Sequence[int]:
        """Return `row`, followed by the other rows of its class in cyclic order."""
        if not replace:
            return [row]
        own = np.flatnonzero(self.labels == self.labels[row])
        return [int(r) for r in np.roll(own, -int(np.searchsorted(own, row)))]


def _decoded(images: Sequence[Tensor | EncodedImage] | Tensor) -> Images:
    """Return the images, with one of no pixels in the place of each that is not decoded."""
    if isinstance(images, Tensor):
        return images
    return [
        torch.empty(3, 0, 0, dtype=torch.uint8) if isinstance(image, EncodedImage) else image
        for image in images
    ]
