"""JPEG files that are decoded on the device of the batches, by nvJPEG on a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ibc_pyg.data.images import decode
from ibc_pyg.data.images.orientation import jpeg_orientation
from ibc_pyg.data.transforms.base import Boxes


@dataclass(frozen=True)
class EncodedImage:
    """A JPEG file that is not decoded yet.

    Attributes:
        path: The file, for messages.
        data: Its bytes, uint8 `[bytes]`.
        shape: Shape of its pixels, `(3, H, W)`.
    """

    path: str
    data: Tensor
    shape: tuple[int, int, int]

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return self.data.nbytes


def read_encoded(path: Path) -> EncodedImage | Tensor:
    """Read an image file; decode it here unless it is a whole, upright JPEG of 1 or 3 channels.

    A file without its last marker may be truncated, of which nvJPEG says nothing.

    Returns:
        The JPEG file, or the pixels, uint8 `[3, H, W]`.

    Raises:
        DatasetError: If the file cannot be read, or is decoded here and cannot be; names it.
    """
    data = decode.read_content(path)
    frame = decode.jpeg_frame(data)
    whole = data.rstrip(b"\0").endswith(b"\xff\xd9")
    if frame is None or frame[2] not in (1, 3) or not whole or jpeg_orientation(data) != 1:
        return decode.decode_content(path, data)
    height, width, _ = frame
    try:
        decode.check_size(width, height)
        decode.check_scans(data)
    except decode.UndecodableError:
        return decode.decode_content(path, data)  # raises, with the name of the file
    buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return EncodedImage(str(path), buffer, (3, height, width))


def decode_on(device: torch.device, files: Sequence[tuple[str, Tensor]]) -> list[Tensor]:
    """Decode JPEG files on a device.

    Grey levels of a GPU differ a little from those of the CPU. nvJPEG decodes fewer variants and
    does not name the file that it cannot decode: then all are decoded on the CPU, whose verdict
    holds.

    Args:
        device: Device of the result.
        files: Path and bytes, uint8 `[bytes]` on the CPU, of each file.

    Returns:
        Pixels of each file, uint8 `[3, H, W]` on `device`.

    Raises:
        DatasetError: If a file cannot be decoded; names it.
    """
    try:
        return decode.decode_jpegs([data for _, data in files], device)
    except RuntimeError:
        return [
            decode.decode_content(path, data.numpy().tobytes()).to(device) for path, data in files
        ]


@dataclass(frozen=True)
class EncodedCrops:
    """JPEG files of some images of a batch, with the box to cut from each.

    Attributes:
        places: Index of each image in the batch.
        paths: Files, for messages.
        data: Bytes of all files one after another, uint8 `[bytes]`; one tensor, because each
            tensor that a worker sends takes a file descriptor.
        lengths: Bytes of each file.
        boxes: Top, left, height, width, int64 `[E, 4]`.
    """

    places: list[int]
    paths: list[str]
    data: Tensor
    lengths: list[int]
    boxes: Boxes

    @classmethod
    def of(
        cls, images: Iterable[Tensor | EncodedImage], boxes: Boxes, first: int
    ) -> EncodedCrops | None:
        """Return those of `images` that are not decoded; None if there are none.

        Args:
            images: Images of a part of a batch.
            boxes: The box to cut from each, int64 `[b, 4]`.
            first: Index of the first image in the batch.
        """
        found = [(i, image) for i, image in enumerate(images) if isinstance(image, EncodedImage)]
        if not found:
            return None
        return cls(
            [first + i for i, _ in found],
            [image.path for _, image in found],
            torch.cat([image.data for _, image in found]),
            [len(image.data) for _, image in found],
            boxes[[i for i, _ in found]],
        )

    @classmethod
    def joined(cls, parts: Sequence[EncodedCrops]) -> EncodedCrops | None:
        """Join the parts of a batch; None if there are none."""
        if not parts:
            return None
        return cls(
            [place for part in parts for place in part.places],
            [path for part in parts for path in part.paths],
            torch.cat([part.data for part in parts]),
            [length for part in parts for length in part.lengths],
            np.concatenate([part.boxes for part in parts]),
        )

    def crops(self, device: torch.device) -> list[Tensor]:
        """Decode the files on `device` and cut the boxes, uint8 `[3, h, w]`."""
        files = zip(self.paths, torch.split(self.data, self.lengths), strict=True)
        return [
            pixels[:, top : top + height, left : left + width]
            for pixels, (top, left, height, width) in zip(
                decode_on(device, list(files)), self.boxes.tolist(), strict=True
            )
        ]
