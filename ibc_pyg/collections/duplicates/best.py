"""The copy of a picture that is worth keeping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dctn

from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.errors import DatasetError

_SIDE = 1024
"""Pixels of a side of the middle of a picture whose details are measured."""
_BINS = 128
_MOST = 0.95
_COLOURED = 4.0


@dataclass(frozen=True, order=True)
class Quality:
    """Quality of a copy, ordered from worst to best.

    Attributes:
        coloured: Whether it has colours.
        detail: Pixels that its details need, fewer than it has if it is blurred or enlarged; in
            quarters of a power of two, so that small differences do not count.
        bytes_per_pixel: Size of the file for each pixel; less after stronger compression.
        width: Width in pixels.
        height: Height in pixels.
    """

    coloured: bool
    detail: int
    bytes_per_pixel: float
    width: int
    height: int


def best_copy(paths: Sequence[str]) -> tuple[str, dict[str, Quality]]:
    """Return the best of several copies, the first among equals, and the quality of each.

    A file that cannot be read has no quality, and is only the best if no other can.
    """
    found: dict[str, Quality] = {}
    for path in paths:
        try:
            found[path] = quality(Path(path))
        except (DatasetError, OSError):
            continue
    best = max(found, key=lambda path: found[path], default=paths[0])
    return best, found


def quality(path: Path) -> Quality:
    """Measure a picture file.

    Raises:
        DatasetError: If it cannot be decoded.
    """
    pixels = decode_image(path).permute(1, 2, 0).contiguous().numpy()  # [H, W, 3]
    size = path.stat().st_size
    chroma = pixels.max(2).astype(np.int16) - pixels.min(2)  # [H, W]
    height, width = chroma.shape
    grey = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)  # [H, W]
    return Quality(
        coloured=bool(np.percentile(chroma, 95) > _COLOURED),
        detail=round(4 * math.log2(width * height * _bandwidth(grey) ** 2 + 1)),
        bytes_per_pixel=size / (width * height),
        width=width,
        height=height,
    )


def _bandwidth(grey: npt.NDArray[np.float32]) -> float:
    """Return the part of the frequencies, in (0, 1], that has most of a picture's details.

    An enlarged or blurred picture has none at high frequencies.
    """
    top, left = ((size - _SIDE) // 2 if size > _SIDE else 0 for size in grey.shape)
    part = grey[top : top + _SIDE, left : left + _SIDE]
    down = np.arange(part.shape[0])[:, None] / part.shape[0]  # [h, 1]
    across = np.arange(part.shape[1])[None] / part.shape[1]  # [1, w]
    energy = np.square(dctn(part, norm="ortho")) * (down**2 + across**2)  # [h, w]
    bins = (np.maximum(down, across) * _BINS).astype(np.int64)  # [h, w]
    total = np.bincount(bins.ravel(), energy.ravel(), _BINS).cumsum()  # [_BINS]
    if total[-1] <= 0:
        return 1 / _BINS
    return float(np.searchsorted(total, _MOST * total[-1]) + 1) / _BINS
