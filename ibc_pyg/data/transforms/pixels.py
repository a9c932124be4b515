"""Operations on 8-bit pixels, each in its fastest memory order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as V2

from ibc_pyg.errors import DatasetError

_MOST_PIXELS = 2**27
"""Most pixels of an image that was scaled up, 384 MiB as RGB."""


def as_channels(images: Tensor, channels: int) -> Tensor:
    """Convert grey images to RGB or RGB to grey, `[..., C, H, W] -> [..., channels, H, W]`."""
    if images.shape[-3] == channels:
        return images
    if channels == 1:
        grey: Tensor = V2.rgb_to_grayscale(images)
        return grey  # [..., 1, H, W]
    return images.expand(*images.shape[:-3], channels, *images.shape[-2:])


def fit_shape(picture: Tensor, height: int, width: int, channels: int) -> Tensor:
    """Give an RGB picture the size and channels of a set in memory.

    Args:
        picture: uint8 `[3, H, W]`.
        height: Height of the result.
        width: Width of the result.
        channels: 3, or 1 for grey.

    Returns:
        uint8 `[channels, height, width]`; grey pixels keep their values exactly.
    """
    picture = V2.resize(picture, [height, width], antialias=True)  # [3, height, width]
    if channels == 1 and not (picture == picture[:1]).all():
        picture = V2.rgb_to_grayscale(picture)  # [1, height, width]
    # The luma weights do not sum to one exactly, so grey pixels are taken from one channel.
    return picture[:channels]


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Scale images bilinearly with antialiasing, uint8 `[B, C, H, W] -> [B, C, height, width]`.

    The kernel for 8-bit pixels takes about half the time in channels-last order.
    """
    if images.shape[-2:] == (height, width):
        return images
    images = images.contiguous(memory_format=torch.channels_last)
    return F.interpolate(images, (height, width), mode="bilinear", antialias=True)


def resize_shorter(images: Tensor, size: int) -> Tensor:
    """Scale images so that their shorter side is `size`, uint8 `[B, C, H, W]`.

    Raises:
        DatasetError: If they are so narrow that the result would not fit into memory.
    """
    height, width = images.shape[-2:]
    new_height, new_width = scaled_size(height, width, size)
    if new_height * new_width > max(_MOST_PIXELS, height * width):
        raise DatasetError(
            f"an image of {width} x {height} pixels is too narrow: scaled to a shorter side of "
            f"{size} it would have {new_height * new_width:,} pixels; crop it"
        )
    return resize(images, new_height, new_width)


def scaled_size(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Return height and width for a shorter side of `shorter`; the longer is rounded down."""
    if height <= width:
        return shorter, int(shorter * width / height)
    return int(shorter * height / width), shorter


def normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return `(pixels / 255 - mean) / std`.

    Args:
        pixels: uint8 `[B, H, W, C]`.
        mean: Mean of each channel, C values.
        std: Standard deviation of each channel, C values.

    Returns:
        float32 `[B, C, H, W]`, channels last in memory.
    """
    B, H, W, C = pixels.shape
    device = pixels.device
    scale, shift = _rows(tuple(mean), tuple(std), W, device)  # [W * C], [W * C]
    out = pixels.to(torch.float32, copy=True)  # [B, H, W, C]
    rows = out.view(B * H, W * C)
    torch.addcmul(shift, rows, scale, out=rows)
    return out.permute(0, 3, 1, 2)  # [B, C, H, W]


@lru_cache(maxsize=32)
def _rows(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return scale and shift of a whole image row, `[W * C]` each, kept on the device.

    An inner loop over 3 channels is ten times slower, and a copy makes the host wait.
    """
    scale = (1 / (255 * torch.tensor(std))).repeat(width).to(device)  # [W * C]
    shift = (-torch.tensor(mean) / torch.tensor(std)).repeat(width).to(device)  # [W * C]
    return scale, shift


@lru_cache(maxsize=64)
def constants(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return one value for each channel, float32 `[C, 1, 1]`, kept on the device; do not change it.

    A copy from pageable memory would make the host wait for the GPU in every batch.
    """
    return torch.tensor(values, device=device).view(-1, 1, 1)  # [C, 1, 1]


def sent(numbers: Tensor, device: torch.device) -> Tensor:
    """Copy numbers to a device; from page-locked memory to a GPU, without waiting for it."""
    if device.type != "cuda":
        return numbers.to(device)
    return numbers.pin_memory().to(device, non_blocking=True)
