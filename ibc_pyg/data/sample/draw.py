"""Drawing the pictures of a synthetic class."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = 5
GOLDEN = 0.618034  # steps of the golden section keep hues apart however many classes there are


def draw_image(label: int, index: int, seed: int, *, size: tuple[int, int]) -> Image.Image:
    """Draw one image of a class: its shape in its colour, placed at random on noise.

    Args:
        label: The class; it decides shape and colour.
        index: Number of the image in the class; with `seed` it decides place and noise.
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
    """Draw an image and save it as JPEG, its folder made if absent."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draw_image(label, index, seed, size=size).save(file, "JPEG", quality=90)
