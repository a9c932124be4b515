"""Augmentation of photographs: random resized crop, flip, colour, random erasing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ibc_pyg.data.transforms.base import Boxes, Draws, Images, Transform, image_sizes
from ibc_pyg.data.transforms.batched_resize import resize_crops
from ibc_pyg.data.transforms.colour import Colour
from ibc_pyg.data.transforms.crops import ATTEMPTS, erasing_boxes, random_resized_crops
from ibc_pyg.data.transforms.pixels import as_channels, constants, resize, sent
from ibc_pyg.errors import ConfigError

_CROP = 2 * ATTEMPTS + 2
_ERASE = 2 * ATTEMPTS + 3


@dataclass(frozen=True)
class PhotoTransform(Transform):
    """Random resized crop, horizontal flip, colour changes, normalisation, random erasing.

    Attributes:
        crop_scale: Range of the crop's fraction of the image's area.
        crop_ratio: Range of the crop's width / height.
        flip: Probability of a horizontal flip.
        erase_probability: Probability that a box is erased.
        erase_scale: Range of the box's fraction of the area.
        erase_ratio: Range of the box's width / height.
        erase_value: Value of the erased box per channel, in units of the normalised result.
        colour: Colour jitter and RandAugment.
        scale_on_device: Scale and mirror training crops on the device of the batches, not in the
            worker processes; grey levels differ by at most 1. Not with `colour`.
        decode_on_device: Also decode JPEG files of training images there, on a GPU by nvJPEG.
    """

    image_size: int = 227
    resize: int = 256
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    erase_probability: float = 0.5
    erase_scale: tuple[float, float] = (0.02, 0.4)
    erase_ratio: tuple[float, float] = (0.3, 1 / 0.3)
    erase_value: tuple[float, float, float] = (0.0, 0.0, 0.0)
    colour: Colour = field(default_factory=Colour)
    scale_on_device: bool = False
    decode_on_device: bool = False

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: If a value is out of range.
        """
        super().__post_init__()
        for name in ("scale_on_device", "decode_on_device"):
            if getattr(self, name) and self.colour.active:
                raise ConfigError(
                    f"data.transform_args.{name}: changes of colour need scaled images in the "
                    "worker processes; set it to false, or omit the changes of colour"
                )
        for name in ("flip", "erase_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"data.transform_args.{name}: must be in [0, 1], not {getattr(self, name)}"
                )
        for name in ("crop_scale", "erase_scale", "crop_ratio", "erase_ratio"):
            low, high = getattr(self, name)
            most = 1.0 if name.endswith("scale") else float("inf")
            if not 0 < low <= high <= most:
                raise ConfigError(
                    f"data.transform_args.{name}: must be 0 < low <= high"
                    f"{' <= 1' if most == 1 else ''}, not {getattr(self, name)}"
                )

    @property
    def num_draws(self) -> int:
        """Number of random numbers per image: those of crop, flip, erasing and colour."""
        return _CROP + 1 + _ERASE + self.colour.num_draws

    def pixels(self, images: Images, draws: Draws) -> Tensor:
        """Crop, scale, flip and change colours, uint8 `[B, S, S, channels]`."""
        _, flip, _, colour = self._split(draws)
        boxes = self.boxes(image_sizes(images), draws).tolist()
        mirrored = (flip[:, 0] < self.flip).tolist()
        S = self.image_size
        # Channels-last order from the decoder to the network avoids reordering pixels.
        out = torch.empty(len(images), S, S, self.channels, dtype=torch.uint8)
        for i, (top, left, height, width) in enumerate(boxes):
            image = images[i][None, :, top : top + height, left : left + width]  # [1, C, h, w]
            image = resize(image, S, S)[0]  # [C, S, S]
            if mirrored[i]:
                image = image.flip(-1)
            if self.colour.active:
                image = self.colour(as_channels(image, 3), colour[i])
            image = as_channels(image, self.channels)  # [channels, S, S]
            out[i].copy_(image.permute(1, 2, 0))  # [S, S, channels]
        return out

    @property
    def crops_only(self) -> bool:
        """Whether workers only crop training images."""
        return self.scale_on_device or self.decode_on_device

    @property
    def decodes_on_device(self) -> bool:
        """Whether JPEG files of training images are decoded on the device of the batches."""
        return self.decode_on_device

    def boxes(self, sizes: npt.NDArray[np.int64], draws: Draws) -> Boxes:
        """Draw the boxes of the random resized crop, int64 `[B, 4]`."""
        return random_resized_crops(sizes, self._split(draws)[0], self.crop_scale, self.crop_ratio)

    def scale_crops(self, crops: Tensor, sizes: Tensor, draws: Draws) -> Tensor:
        """Scale and mirror crops, uint8 `[B, S, S, channels]`."""
        flips = torch.from_numpy(self._split(draws)[1][:, 0] < self.flip)  # [B]
        sizes, flips = sent(sizes, crops.device), sent(flips, crops.device)
        return resize_crops(crops, sizes, flips, self.image_size)

    def finish(self, pixels: Tensor, draws: Draws, first: int = 0) -> Tensor:
        """Normalise and erase boxes, float32 `[B, channels, S, S]`."""
        images = self.normalise(pixels)  # [B, channels, S, S]
        if not self.erase_probability:
            return images
        _, _, erase, _ = self._split(draws[first : first + len(pixels)])
        boxes = erasing_boxes(
            self.image_size, erase, self.erase_probability, self.erase_scale, self.erase_ratio
        )
        value = constants(tuple(self.erase_value[: self.channels]), images.device)
        for i in np.flatnonzero(boxes[:, 2]).tolist():
            top, left, height, width = boxes[i].tolist()
            images[i, :, top : top + height, left : left + width] = value
        return images

    def _split(self, draws: Draws) -> list[Draws]:
        """Return the random numbers of crop, flip, erasing and colour."""
        return np.split(draws, [_CROP, _CROP + 1, _CROP + 1 + _ERASE], axis=1)
