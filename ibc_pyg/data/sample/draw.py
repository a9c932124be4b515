"""Drawing of the images of synthetic classes."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = 5
GOLDEN = 0.618034  # steps of the golden ratio separate the hues of any number of classes


def draw_image(label: int, index: int, seed: int, *, size: tuple[int, int]) -> Image.Image:
    """Draw one image of a class: its shape in its colour at a random position on noise.

    Args:
        label: The class, which determines shape and colour.
        index: Index of the image, which with `seed` determines position and noise.
        seed: Seed of the set.
        size: Width and height in pixels.
    """
    rng = np.random.default_rng([seed, label, index])
    width, height = size
    noise = rng.integers(60, 196, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR)
    red, green, blue = colorsys.hsv_to_rgb(label * GOLDEN % 1, 0.9, 0.95)
    colour = (int(red * 255), int(green * 255), int(blue * 255))
    radius = 0.3 * min(size) * rng.uniform(0.8, 1.2)
    x, y = rng.uniform(0.4, 0.6, 2) * size
    pen = ImageDraw.Draw(image)
    sides = label % SHAPES + 2
    if sides == 2:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    else:
        turn = float(rng.uniform(-20, 20))
        pen.regular_polygon((x, y, radius), sides, rotation=turn, fill=colour)
    return image


def save_jpeg(
    file: Path, label: int, index: int, seed: int, *, size: tuple[int, int] = (96, 80)
) -> None:
    """Draw an image and save it as JPEG; its folder is created if absent."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draw_image(label, index, seed, size=size).save(file, "JPEG", quality=90)
