"""Pictures as data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from ibc_pyg.report.data import Picture

THUMB_SIDE = 128
"""Pixels of the longer side: twice the size on the page, for high-density screens."""
JPEG_QUALITY = 82
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
    image = to_image(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    encoded = {"png": _bytes(image, "PNG", optimize=True)}
    encoded["jpeg"] = _bytes(image, "JPEG", quality=JPEG_QUALITY, optimize=True)
    kind = min(encoded, key=lambda name: len(encoded[name]))
    return _uri(kind, encoded[kind])


def palette_uri(indices: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]) -> str:
    """Return a PNG of `indices` `[H, W]` into `palette` `[256, 3]`, both uint8."""
    image = Image.fromarray(indices, mode="L").convert("P")
    image.putpalette(palette.tobytes())
    return _uri("png", _bytes(image, "PNG", optimize=True))


def _bytes(image: Image.Image, kind: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
