"""Random boxes for a batch of images, from uniform random numbers."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.transforms.base import Boxes, Draws

ATTEMPTS = 10
"""Shapes tried for a crop; if none fits, the largest central box of the ratio is taken."""


def random_resized_crops(
    sizes: npt.NDArray[np.int64],
    draws: Draws,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Boxes:
    """Draw the boxes of "random resized crop" (Szegedy et al. 2015, https://arxiv.org/abs/1409.4842).

    Area and aspect ratio are drawn up to ten times until the box fits, then its position: the
    distribution of torchvision's `RandomResizedCrop`.

    Args:
        sizes: Height and width of each image, int64 `[B, 2]`.
        draws: Uniform numbers, `[B, 2 * ATTEMPTS + 2]`.
        scale: Range of the box's fraction of the image's area.
        ratio: Range of width / height, drawn uniformly on a logarithmic scale.

    Returns:
        Top, left, height, width, int64 `[B, 4]`.
    """
    full_h, full_w = sizes[:, :1], sizes[:, 1:]  # [B, 1]
    area = full_h * full_w * _between(draws[:, :ATTEMPTS], *scale)  # [B, A]
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = np.exp(_between(draws[:, ATTEMPTS : 2 * ATTEMPTS], low, high))  # [B, A]
    width = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    height = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (width > 0) & (height > 0) & (width <= full_w) & (height <= full_h)  # [B, A]
    first = fits.argmax(axis=1)[:, None]
    found = fits.any(axis=1)
    width = np.take_along_axis(width, first, 1)[:, 0]  # [B]
    height = np.take_along_axis(height, first, 1)[:, 0]  # [B]
    h, w = full_h[:, 0], full_w[:, 0]
    top = np.floor(draws[:, -2] * (h - height + 1)).astype(np.int64)
    left = np.floor(draws[:, -1] * (w - width + 1)).astype(np.int64)
    widest = np.minimum(w, np.rint(h * ratio[1]).astype(np.int64))
    tallest = np.minimum(h, np.rint(w / ratio[0]).astype(np.int64))
    height, width = np.where(found, height, tallest), np.where(found, width, widest)
    top = np.where(found, top, (h - height) // 2)
    left = np.where(found, left, (w - width) // 2)
    return np.stack([top, left, height, width], axis=1)  # [B, 4]


def erasing_boxes(
    side: int,
    draws: Draws,
    probability: float,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Boxes:
    """Draw the boxes of random erasing (Zhong et al. 2020, https://arxiv.org/abs/1708.04896).

    Args:
        side: Height and width of all images.
        draws: Uniform numbers, `[B, 2 * ATTEMPTS + 3]`.
        probability: Probability that a box of an image is erased.
        scale: Range of the box's fraction of the image's area.
        ratio: Range of width / height, drawn uniformly on a logarithmic scale.

    Returns:
        Top, left, height, width, int64 `[B, 4]`; height and width are 0 where nothing is erased.
    """
    sizes = np.full((len(draws), 2), side)
    boxes = random_resized_crops(sizes, draws[:, 1:], scale, ratio)
    boxes[draws[:, 0] >= probability, 2:] = 0
    return boxes


def _between(draws: Draws, low: float, high: float) -> Draws:
    return low + (high - low) * draws
