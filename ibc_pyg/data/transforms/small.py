"""Augmentation of small images, a whole batch in one `grid_sample`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ibc_pyg.data.transforms.base import Draws, Images, Transform
from ibc_pyg.data.transforms.pixels import constants, sent
from ibc_pyg.errors import ConfigError

Padding = Literal["border", "zeros", "reflection"]


@dataclass(frozen=True)
class SmallTransform(Transform):
    """Random affine maps, contrast and noise for images of about 28 to 64 pixels.

    Each number is the half width of a uniform range around no change.

    Attributes:
        rotation: Largest rotation in degrees, in either direction.
        scale: Largest relative change of size: 0.15 is 1 / 1.15 to 1.15.
        shear: Largest shear in degrees, in either direction.
        translation: Largest shift, as a fraction of the image's side.
        contrast: Largest relative change of contrast.
        noise: Standard deviation of Gaussian noise, as a fraction of the range from black to white.
        padding: Pixels outside the image: its border, zeros (black), or a reflection.
    """

    image_size: int = 28
    resize: int = 28
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    rotation: float = 12.0
    scale: float = 0.15
    shear: float = 8.0
    translation: float = 0.08
    contrast: float = 0.2
    noise: float = 0.1
    padding: Padding = "border"

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: If a value is out of range.
        """
        super().__post_init__()
        for name in ("rotation", "scale", "shear", "translation", "contrast", "noise"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"data.transform_args.{name}: must be >= 0, not {getattr(self, name)}"
                )
        if self.padding not in get_args(Padding):
            raise ConfigError(
                f"data.transform_args.padding: must be one of {get_args(Padding)}, "
                f"not {self.padding!r}"
            )

    @property
    def num_draws(self) -> int:
        """Number per image: rotation, scale, shear, two shifts, contrast, seed of the noise."""
        return 7

    def pixels(self, images: Images, draws: Draws) -> Tensor:
        """Scale and crop images as in `test`, uint8 `[B, S, S, channels]`."""
        return self.fit(images)

    def finish(self, pixels: Tensor, draws: Draws, first: int = 0) -> Tensor:
        """Apply affine maps, contrast, noise and normalisation, float32 `[B, channels, S, S]`."""
        device = pixels.device
        pixels = pixels.permute(0, 3, 1, 2) / 255  # [B, C, S, S]
        own = draws[first : first + len(pixels)]
        symmetric = sent(torch.from_numpy(2 * own[:, :6] - 1).float(), device)  # [B, 6]
        if self.rotation or self.scale or self.shear or self.translation:
            grid = F.affine_grid(self._maps(symmetric), list(pixels.shape), align_corners=False)
            pixels = F.grid_sample(
                pixels, grid, mode="bilinear", padding_mode=self.padding, align_corners=False
            )  # [B, C, S, S]
        if self.contrast:
            centre = pixels.mean(dim=(1, 2, 3), keepdim=True)  # [B, 1, 1, 1]
            gain = (1 + self.contrast * symmetric[:, 5]).view(-1, 1, 1, 1)
            pixels = (pixels - centre).mul_(gain).add_(centre)
        if self.noise and len(pixels):
            generator = torch.Generator(device).manual_seed(int(draws[0, 6] * 2**32))
            noise = _empty_like(pixels, len(draws)).normal_(0, self.noise, generator=generator)
            pixels = pixels.add_(noise[first : first + len(pixels)])
        mean, std = constants(self.mean, device), constants(self.std, device)
        return pixels.clamp_(0, 1).sub_(mean).div_(std)

    def _maps(self, symmetric: Tensor) -> Tensor:
        """Return maps from result to source, `[B, 2, 3]`, from numbers in [-1, 1), `[B, 6]`."""
        angle, size, shear = symmetric[:, 0], symmetric[:, 1], symmetric[:, 2]
        angle = angle * math.radians(self.rotation)
        size = (size * math.log1p(self.scale)).exp()
        shear = (shear * math.radians(self.shear)).tan()
        cos, sin = angle.cos() / size, angle.sin() / size
        maps = symmetric.new_empty(len(symmetric), 2, 3)
        maps[:, 0, 0] = cos
        maps[:, 0, 1] = shear * cos - sin
        maps[:, 1, 0] = sin
        maps[:, 1, 1] = shear * sin + cos
        # The grid runs from -1 to 1: a shift of the whole side is 2.
        maps[:, :, 2] = symmetric[:, 3:5] * (2 * self.translation)
        return maps


def _empty_like(pixels: Tensor, count: int) -> Tensor:
    """Return memory for `count` images in the layout of `pixels`, the order of the noise."""
    if count == len(pixels):
        return torch.empty_like(pixels)
    one = pixels[:1]
    last = one.is_contiguous(memory_format=torch.channels_last) and not one.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty(
        count, *pixels.shape[1:], dtype=pixels.dtype, device=pixels.device, memory_format=layout
    )


@dataclass(frozen=True)
class PlainTransform(Transform):
    """No augmentation: training images are transformed like test images."""

    image_size: int = 28
    resize: int = 28
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    @property
    def num_draws(self) -> int:
        """Number of random numbers per image: none."""
        return 0

    def pixels(self, images: Images, draws: Draws) -> Tensor:
        """Scale and crop images as in `test`, uint8 `[B, S, S, channels]`."""
        return self.fit(images)

    def finish(self, pixels: Tensor, draws: Draws, first: int = 0) -> Tensor:
        """Normalise, float32 `[B, channels, S, S]`."""
        return self.normalise(pixels)
