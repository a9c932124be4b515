"""Base class of the transforms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from ibc_pyg.data.transforms.batched_resize import padded
from ibc_pyg.data.transforms.pixels import as_channels, normalised, resize_shorter
from ibc_pyg.errors import ConfigError

Images = Tensor | Sequence[Tensor]
"""uint8 `[B, C, H, W]`, or B images uint8 `[C, H, W]` of any sizes; C is 1 or 3."""

Draws = npt.NDArray[np.float64]

Boxes = npt.NDArray[np.int64]

MAX_RESIZE = 4096
"""Most pixels of the shorter side of an image that is transformed."""


@dataclass(frozen=True)
class Transform(ABC):
    """Conversion of images into the input of a network, with or without augmentation.

    Transforms process whole batches, because one operation per batch costs far less than one per
    image. All randomness comes from a given generator or from given random numbers; the global
    generator of torch is not used.

    Attributes:
        image_size: Height and width of the result in pixels.
        resize: Shorter side in pixels that a test image is scaled to before the centre crop;
            also the size of the images in the cache.
        mean: Mean of each channel, for pixels in [0, 1].
        std: Standard deviation of each channel; the result is `(pixel / 255 - mean) / std`.
    """

    image_size: int
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check sizes and channels.

        Raises:
            ConfigError: If a size or a standard deviation is out of range.
        """
        if self.image_size < 1:
            raise ConfigError(
                f"data.transform_args.image_size: must be >= 1, not {self.image_size}"
            )
        if self.resize > MAX_RESIZE:
            raise ConfigError(
                f"data.transform_args.resize: must be <= {MAX_RESIZE}, not {self.resize}"
            )
        if self.resize < self.image_size:
            raise ConfigError(
                f"data.transform_args.resize: {self.resize} is smaller than image_size "
                f"{self.image_size}, the size of the crop; raise resize or lower image_size"
            )
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ConfigError("data.transform_args.mean: mean and std need 1 or 3 values each")
        if min(self.std) <= 0:
            raise ConfigError(f"data.transform_args.std: must be > 0, not {self.std}")

    @property
    def channels(self) -> int:
        """Channels of the result: 1 (grey) or 3 (RGB)."""
        return len(self.mean)

    @property
    @abstractmethod
    def num_draws(self) -> int:
        """Number of random numbers per image."""

    @abstractmethod
    def pixels(self, images: Images, draws: Draws) -> Tensor:
        """Make images of one size: the part of `augment` that runs in worker processes.

        Args:
            images: B images.
            draws: Uniform in [0, 1), float64 `[B, num_draws]`.

        Returns:
            uint8 `[B, image_size, image_size, channels]`, a quarter of the memory of floats on
            the way to the main process or the GPU.
        """

    @property
    def crops_only(self) -> bool:
        """Whether workers only crop training images, and `scale_crops` makes them of one size."""
        return False

    @property
    def decodes_on_device(self) -> bool:
        """Whether JPEG files of training images are decoded on the device of the batches."""
        return False

    def boxes(self, sizes: npt.NDArray[np.int64], draws: Draws) -> Boxes:
        """Draw the box to cut from each image, if `crops_only`.

        Args:
            sizes: Height and width of each image, int64 `[B, 2]`.
            draws: As for `pixels`.

        Returns:
            Top, left, height, width, int64 `[B, 4]`.
        """
        raise NotImplementedError

    def crops(self, images: Images, boxes: Boxes) -> Tensor:
        """Cut boxes from images, uint8 `[B, H, W, channels]` with zeros beyond each crop."""
        return padded(
            [
                as_channels(image[:, top : top + height, left : left + width], self.channels)
                .permute(1, 2, 0)
                .unsqueeze(0)  # [1, h, w, channels]
                for image, (top, left, height, width) in zip(images, boxes.tolist(), strict=True)
            ]
        )

    def scale_crops(self, crops: Tensor, sizes: Tensor, draws: Draws) -> Tensor:
        """Make crops of one size, on their device.

        Args:
            crops: Result of `crops`.
            sizes: Heights and widths of the crops, int64 `[B, 2]` on the CPU.
            draws: The same numbers.

        Returns:
            As `pixels`, on the device of `crops`.
        """
        raise NotImplementedError

    @abstractmethod
    def finish(self, pixels: Tensor, draws: Draws, first: int = 0) -> Tensor:
        """Normalise the images, after the augmentations that run on a whole batch.

        Args:
            pixels: Result of `pixels`, on any device.
            draws: The same numbers, or those of all G images of the global batch,
                `[G, num_draws]`.
            first: Index of the first image in the global batch.

        Returns:
            float32 `[B, channels, image_size, image_size]`, channels last in memory.
        """

    def augment(self, images: Images, draws: Draws) -> Tensor:
        """Augment images by the given random numbers: `pixels`, then `finish`."""
        if self.crops_only:
            boxes = self.boxes(image_sizes(images), draws)
            sizes = torch.from_numpy(boxes[:, 2:])  # [B, 2]
            return self.finish(self.scale_crops(self.crops(images, boxes), sizes, draws), draws)
        return self.finish(self.pixels(images, draws), draws)

    def train(self, images: Images, rng: np.random.Generator) -> Tensor:
        """Augment images with random numbers from `rng`."""
        return self.augment(images, rng.random((len(images), self.num_draws)))

    def test(self, images: Images) -> Tensor:
        """Scale the shorter side to `resize`, crop the centre, normalise.

        Returns:
            float32 `[B, channels, image_size, image_size]`, channels last in memory.
        """
        return self.normalise(self.fit(images))

    def fit(self, images: Images) -> Tensor:
        """Scale and crop the centre, uint8 `[B, image_size, image_size, channels]`."""
        if isinstance(images, Tensor):
            return self._centre(images).contiguous()  # [B, S, S, channels]
        S = self.image_size
        out = torch.empty(len(images), S, S, self.channels, dtype=torch.uint8)
        for i, image in enumerate(images):
            out[i].copy_(self._centre(image[None])[0])  # [S, S, channels]
        return out

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return `(pixels / 255 - mean) / std`, `[B, S, S, channels] -> [B, channels, S, S]`."""
        return normalised(pixels, self.mean, self.std)

    def _centre(self, images: Tensor) -> Tensor:
        images = resize_shorter(as_channels(images, self.channels), self.resize)
        centre: Tensor = F.center_crop(images, [self.image_size, self.image_size])
        return centre.permute(0, 2, 3, 1)  # [B, S, S, channels]


def image_sizes(images: Iterable[Any]) -> npt.NDArray[np.int64]:
    """Return height and width of each image, int64 `[B, 2]`."""
    return np.array([image.shape[-2:] for image in images], dtype=np.int64).reshape(-1, 2)
