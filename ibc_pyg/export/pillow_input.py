"""Preprocessing with numpy and Pillow alone, for users of an exported network without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps


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
    image, shape = image.convert("RGB"), spec["image_shape"]
    if shape:  # trained on small pictures in memory
        image = image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    rgb = np.asarray(image).astype(np.float32)
    if 1 in (spec["channels"], shape and shape[2]):
        is_grey = shape and (rgb == rgb[:, :, :1]).all()
        grey = rgb[:, :, 0] if is_grey else rgb @ np.float32([0.2989, 0.587, 0.114])
        image = Image.fromarray(grey.astype(np.uint8))
    short, (w, h), size = spec["resize"], image.size, spec["image_size"]
    w, h = (int(short * w / h), short) if h <= w else (short, int(short * h / w))
    image = image.resize((w, h), Image.Resampling.BILINEAR)
    left, top = round((w - size) / 2), round((h - size) / 2)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32)
    pixels = pixels.reshape(size, size, -1).transpose(2, 0, 1)[None]
    return np.repeat(pixels, spec["channels"] // pixels.shape[1], 1)
