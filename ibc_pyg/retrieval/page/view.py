"""Pictures of a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ibc_pyg.data.images.decode import decode_image, to_pillow
from ibc_pyg.data.images.pictures import Picture, read_picture
from ibc_pyg.errors import DatasetError
from ibc_pyg.pages import picture_uri


@dataclass(frozen=True)
class View:
    """A picture of a page.

    Attributes:
        uri: Data URI; None if the file is missing or cannot be read.
        name: Name of the file.
        folder: Its folder; "" for a picture in memory.
    """

    uri: str | None
    name: str
    folder: str


def view(picture: Picture, side: int) -> View:
    """Return a picture for a page, upright and scaled down.

    Args:
        picture: A file, or a picture in memory.
        side: Pixels of the longer side.
    """
    name, folder = "picture", ""
    if isinstance(picture, str | Path):
        name, folder = Path(picture).name, str(Path(picture).parent)
    try:
        if isinstance(picture, str | Path):
            pixels = decode_image(picture, shrink_to=side)  # [3, H, W]
        else:
            pixels = read_picture(picture, name)  # [3, H, W]
    except DatasetError:
        return View(None, name, folder)
    return View(picture_uri(to_pillow(pixels), side), name, folder)
