"""Pictures as data URIs."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from ibc_pyg.pages import THUMB_SIDE, data_uri, picture_uri
from ibc_pyg.report.data import Picture

SMALL = 64
"""Pictures with a longer side below this many pixels are enlarged without smoothing."""


def to_image(picture: Picture) -> Image.Image:
    """Return a grey or RGB picture as a PIL image.

    Raises:
        ValueError: If it is not uint8 `[H, W]`, `[H, W, 1]` or `[H, W, 3]` with H, W > 0.
    """
    shape = picture.shape
    fits = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    if picture.dtype != np.uint8 or not fits or picture.size == 0:
        raise ValueError(
            f"picture must be uint8 [H, W], [H, W, 1] or [H, W, 3], got {picture.dtype} "
            f"{list(shape)}"
        )
    squeezed = picture[:, :, 0] if len(shape) == 3 and shape[2] == 1 else picture  # [H, W] or RGB
    return Image.fromarray(np.ascontiguousarray(squeezed))


def is_small(picture: Picture) -> bool:
    """Return whether a picture is so small that smoothing would blur it."""
    return bool(max(picture.shape[:2]) < SMALL)


def thumb_uri(picture: Picture, side: int = THUMB_SIDE) -> str:
    """Return a picture, scaled down to `side` if it is larger, as the smaller of PNG and JPEG."""
    return picture_uri(to_image(picture), side)


def palette_uri(indices: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]) -> str:
    """Return a PNG of `indices` `[H, W]` into `palette` `[256, 3]`, both uint8."""
    image = Image.fromarray(indices, mode="L").convert("P")
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return data_uri("png", buffer.getvalue())
