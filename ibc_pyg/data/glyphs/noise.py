"""Affine jitter and noise for small grey images, the test images of Glyphs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Distortion:
    """Strength of the distortion; every range is symmetric and uniform.

    Attributes:
        degrees: Largest rotation, in degrees.
        scale: Largest change of size; 0.1 draws factors from [0.9, 1.1].
        shear: Largest horizontal shear, in pixels of shift per pixel of height.
        shift: Largest shift along either axis, in pixels.
        noise: Standard deviation of the Gaussian noise, as a fraction of the full range.

    """

    degrees: float = 10.0
    scale: float = 0.1
    shear: float = 0.1
    shift: float = 2.0
    noise: float = 0.1


def distort(
    images: npt.NDArray[np.uint8],
    rng: np.random.Generator,
    distortion: Distortion | None = None,
    *,
    chunk: int = 4096,
) -> npt.NDArray[np.uint8]:
    """Rotate, scale, shear and shift each image by its own random amounts, then add noise.

    Args:
        images: uint8 `[M, H, W]`.
        rng: Source of all random numbers.
        distortion: Strength; None takes the defaults.
        chunk: Images processed together; bounds the memory, the result does not depend on it.

    Returns:
        New images, uint8 `[M, H, W]`, black outside of the source image.

    """
    d = distortion or Distortion()
    count, height, width = images.shape
    angle = np.deg2rad(rng.uniform(-d.degrees, d.degrees, count))
    scale = rng.uniform(1 - d.scale, 1 + d.scale, count)
    shear = rng.uniform(-d.shear, d.shear, count)
    shift = rng.uniform(-d.shift, d.shift, (count, 2))
    # Inverse map, target to source: undo the shift, rotation, shear and scale.
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    matrix = np.stack([cos, sin, -sin - shear * cos, cos - shear * sin], 1)  # [M, 4] = yy yx xy xx
    y, x = np.mgrid[:height, :width].astype(np.float32).reshape(2, -1)  # each [H * W]
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2)))  # [M, H + 3, W + 3]
    out = np.empty_like(images)
    for start in range(0, count, chunk):
        rows = slice(start, min(start + chunk, count))
        m = matrix[rows].astype(np.float32)
        dy = y - np.float32(centre_y) - shift[rows, :1].astype(np.float32)  # [n, H * W]
        dx = x - np.float32(centre_x) - shift[rows, 1:].astype(np.float32)
        source_y = m[:, :1] * dy + m[:, 1:2] * dx + np.float32(centre_y)
        source_x = m[:, 2:3] * dy + m[:, 3:] * dx + np.float32(centre_x)
        image = bilinear(padded[rows], source_y, source_x)  # [n, H * W]
        image += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(255 * d.noise)
        out[rows] = np.rint(image.clip(0, 255)).astype(np.uint8).reshape(-1, height, width)
    return out


def bilinear(
    padded: npt.NDArray[np.uint8], y: npt.NDArray[np.float32], x: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Interpolate images bilinearly; outside they are black.

    Args:
        padded: The images with one black line before and two after, uint8 `[n, H + 3, W + 3]`.
        y: Vertical coordinates in pixels of the unpadded image, `[n, P]`.
        x: Horizontal coordinates, `[n, P]`.

    Returns:
        Values in [0, 255], float32 `[n, P]`.

    """
    n, height, width = padded.shape
    y = y.clip(-1, height - 3) + 1
    x = x.clip(-1, width - 3) + 1
    y0, x0 = y.astype(np.int64), x.astype(np.int64)  # the coordinates are not negative
    fy, fx = y - y0, x - x0
    corner = np.arange(n)[:, None] * (height * width) + y0 * width + x0  # [n, P]
    flat = padded.reshape(-1).astype(np.float32)
    top = flat[corner] * (1 - fx) + flat[corner + 1] * fx
    bottom = flat[corner + width] * (1 - fx) + flat[corner + width + 1] * fx
    result: npt.NDArray[np.float32] = (top * (1 - fy) + bottom * fy).astype(np.float32)
    return result
