"""Pictures of the index, upright, scaled down and encoded anew."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

from PIL import Image

from ibc_pyg.data.images.decode import decode_image, to_pillow
from ibc_pyg.errors import DatasetError
from ibc_pyg.serve.errors import RefusedError

SIDES = (256, 1024)
_KEPT = 512


def thumbnail(file: Path, side: int) -> bytes:
    """Return a picture as JPEG, its longer side at most `side` pixels.

    Raises:
        RefusedError: With status 404, if it cannot be read.
    """
    try:
        changed = file.stat().st_mtime_ns
        return _encoded(file, side, changed)
    except (OSError, DatasetError):
        raise RefusedError(404, "the picture is not there any more, or cannot be read") from None


@lru_cache(_KEPT)
def _encoded(file: Path, side: int, changed: int) -> bytes:
    pixels = decode_image(file, shrink_to=side)  # [3, H, W]
    image = to_pillow(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()
