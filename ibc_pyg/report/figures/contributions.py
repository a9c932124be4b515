"""Contributions of the parts of a picture as colours over it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from ibc_pyg.explain.pair import Map

SIDE = 360
_FOR, _AGAINST = np.array([31, 95, 153.0]), np.array([209, 102, 28.0])
_LEAST, _MOST = 0.06, 0.78


def contribution_picture(
    pixels: npt.NDArray[np.uint8], cells: Map, top: float
) -> npt.NDArray[np.uint8]:
    """Draw contributions over a faded grey picture: blue for positive, orange for negative ones.

    Args:
        pixels: uint8 `[S, S, C]`, C = 1 or 3.
        cells: Contributions, `[h, w]`.
        top: Contribution of the strongest colour.

    Returns:
        RGB, uint8 `[SIDE, SIDE, 3]`.
    """
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("L")
    grey = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float64)
    base = np.repeat(90 + 0.65 * grey[:, :, None], 3, 2)  # [SIDE, SIDE, 3]
    small = Image.fromarray((cells / max(top, 1e-12)).astype(np.float32))
    shade = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BILINEAR))[:, :, None]
    strength = np.clip(np.abs(shade), 0.0, 1.0)
    alpha = np.where(strength > _LEAST, _MOST * strength, 0.0)  # [SIDE, SIDE, 1]
    colour = np.where(shade > 0, _FOR, _AGAINST)  # [SIDE, SIDE, 3]
    mixed: npt.NDArray[np.uint8] = (
        (base * (1 - alpha) + colour * alpha).clip(0, 255).astype(np.uint8)
    )
    return mixed
