"""Pictures as callers have them: files, bytes, Pillow images, arrays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from ibc_pyg.data.images.decode import (
    UndecodableError,
    check_size,
    decode_bytes,
    decode_image,
    picture_pixels,
)
from ibc_pyg.data.images.formats import SUFFIXES
from ibc_pyg.errors import DatasetError, first_line, printable

MAX_DEPTH = 100
"""Most folders within each other, in a folder of pictures."""

Picture: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]
"""A picture: a path, the content of a file, a Pillow image, or an array uint8 or uint16 `[H, W]` or
`[H, W, C]` with C = 1 (grey), 3 (RGB) or 4 (RGBA)."""


def read_picture(picture: Picture, name: str) -> Tensor:
    """Return the pixels of a picture in any of the forms, decoded as for training.

    Args:
        picture: The picture.
        name: Its name in messages.

    Returns:
        uint8 `[3, H, W]`.

    Raises:
        DatasetError: If it cannot be decoded.
        ValueError: If an array has another shape or dtype.
        TypeError: If it is not a picture.
    """
    if isinstance(picture, str | os.PathLike):
        return decode_image(Path(picture))
    if isinstance(picture, np.ndarray):
        picture = _from_array(picture, name)
    try:
        if isinstance(picture, bytes):
            return decode_bytes(picture)
        if isinstance(picture, Image.Image):
            check_size(*picture.size)
            return picture_pixels(picture)
    except UndecodableError as error:
        raise DatasetError(f"{name}: {error}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f"{name}: truncated or damaged ({first_line(error)})") from None
    raise TypeError(
        f"{name}: a picture is a path, bytes, a PIL image or a numpy array, "
        f"not {type(picture).__name__}"
    )


def _from_array(array: npt.NDArray[Any], name: str) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ValueError(
            f"{name}: an array must be [H, W] or [H, W, C] with C = 1, 3 or 4, "
            f"not {list(array.shape)}"
        )
    if not array.size:
        raise ValueError(f"{name}: the array is empty: {list(array.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name}: the array holds NaN or infinite values")
    if array.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"{name}: the dtype must be uint8 (0 to 255) or uint16 (0 to 65535), not {array.dtype}"
        )
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)  # the high byte, as for 16-bit files
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]  # [H, W]
    return Image.fromarray(np.ascontiguousarray(array))


def list_pictures(folder: Path) -> list[Path]:
    """Return the image files in a folder and its subfolders, sorted by path.

    Hidden files and files with other suffixes than `SUFFIXES` are left out.

    Raises:
        DatasetError: If a folder cannot be read, or lies more than `MAX_DEPTH` deep.
    """
    found = []

    def refuse(error: OSError) -> None:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}")

    for place, folders, files in os.walk(folder, onerror=refuse):
        if len(Path(place).relative_to(folder).parts) > MAX_DEPTH:
            raise DatasetError(f"{printable(place)}: more than {MAX_DEPTH} folders deep")
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        found += [
            Path(place) / file
            for file in files
            if not file.startswith(".") and Path(file).suffix.lower() in SUFFIXES
        ]
    return sorted(found)
