"""EXIF orientation of images."""

from __future__ import annotations

import io

from PIL import ExifTags, Image
from torch import Tensor

from ibc_pyg.data.images.formats import FORMATS


def orientation_of(image: Image.Image) -> int:
    """Return the orientation in an image's metadata, 1 to 8 (TIFF 6.0, tag 274).

    Metadata that are damaged count as absent: they say nothing about the pixels.
    """
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises errors of many kinds on damaged metadata
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def jpeg_orientation(data: bytes) -> int:
    """Return the orientation in the metadata of a JPEG file; see `orientation_of`."""
    if b"\xff\xe1" not in data:  # the segment of EXIF and XMP; not part of entropy-coded data
        return 1
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return orientation_of(image)
    except Exception:
        return 1


def upright(pixels: Tensor, orientation: int) -> Tensor:
    """Turn and mirror pixels as their orientation demands.

    Args:
        pixels: `[C, H, W]`.
        orientation: 1 to 8.

    Returns:
        `[C, H, W]`, or `[C, W, H]` for 5 to 8.
    """
    if orientation >= 5:
        pixels = pixels.transpose(1, 2)  # [C, W, H]
    down, right = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    turned = [axis for axis, flip in ((1, down), (2, right)) if flip]
    return pixels.flip(turned) if turned else pixels
