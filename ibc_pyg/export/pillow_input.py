"""Preprocessing with numpy and Pillow alone, for users of an exported network without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps


def scale(pixels: npt.NDArray[np.int64], size: int, axis: int) -> npt.NDArray[np.int64]:
    """Return 8-bit values scaled along an axis as by torch: antialiased, weights of 16 bits."""
    ratio = pixels.shape[axis] / size
    centres = (np.arange(size)[:, None] + 0.5) * ratio - 0.5  # [size, 1]
    reach = np.abs(np.arange(pixels.shape[axis]) - centres) / max(ratio, 1.0)
    weights = np.clip(1 - reach, 0, None)  # [size, old size]
    weights /= weights.sum(1, keepdims=True)
    bits = next(b for b in range(23) if b == 22 or int(0.5 + weights.max() * 2 ** (b + 1)) >= 2**15)
    whole = np.floor(weights * 2**bits + 0.5)
    sums = np.moveaxis(np.tensordot(whole, pixels.astype(float), (1, axis)), 0, axis)
    rounded: npt.NDArray[np.int64] = np.floor(sums / 2**bits + 0.5).clip(0, 255).astype(int)
    return rounded


def read_pixels(path: str | Path, spec: dict[str, Any]) -> npt.NDArray[np.float32]:
    """Return the input of the network for a file, float32 `[1, C, S, S]` in [0, 255].

    Args:
        path: The picture.
        spec: Content of preprocess.json.
    """
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray((np.asarray(image).astype(int) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    pixels, shape = np.asarray(image.convert("RGB")).astype(int), spec["image_shape"]
    if shape:  # trained on small pictures in memory
        pixels = scale(scale(pixels, shape[1], 1), shape[0], 0)
    grey = (pixels @ np.array([0.2989, 0.587, 0.114])).astype(int)[:, :, None]  # [H, W, 1]
    if shape and shape[2] == 1:
        pixels = pixels[:, :, :1] if (pixels == pixels[:, :, :1]).all() else grey
    elif spec["channels"] == 1:
        pixels = grey
    (h, w), short, size = pixels.shape[:2], spec["resize"], spec["image_size"]
    h, w = (short, int(short * w / h)) if h <= w else (int(short * h / w), short)
    pixels = scale(scale(pixels, w, 1), h, 0)
    top, left = round((h - size) / 2), round((w - size) / 2)
    pixels = pixels[top : top + size, left : left + size].transpose(2, 0, 1)[None]
    return np.repeat(pixels, spec["channels"] // pixels.shape[1], 1).astype(np.float32)
