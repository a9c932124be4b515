"""Self-contained HTML page of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup
from PIL import Image

import ibc_pyg
from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.data.images.pictures import Picture, read_picture
from ibc_pyg.errors import DatasetError
from ibc_pyg.files import write_atomically
from ibc_pyg.pages import content_policy, page_environment, picture_uri
from ibc_pyg.retrieval.hits import Hit, Vote, rate

SIDE = 224
"""Pixels of the longer side of a picture."""


@dataclass(frozen=True)
class Answer:
    """Result of a query.

    Attributes:
        query: The picture, usually a file.
        hits: Pictures found, most similar first.
        vote: Class that the hits vote for, or None.
    """

    query: Picture
    hits: Sequence[Hit]
    vote: Vote | None = None


@dataclass(frozen=True)
class _View:
    """A picture of the page: its data URI, None if it cannot be shown, its name and its folder."""

    uri: str | None
    name: str
    folder: str


def write_page(path: Path, answers: Sequence[Answer], title: str, notes: Sequence[str]) -> None:
    """Write the page of a search.

    The file holds its style sheet and its pictures, upright and scaled down; a content security
    policy in it forbids every request and every script. All texts are escaped. A picture that is
    not there any more is shown as missing.

    Args:
        path: The HTML file.
        answers: Queries and what was found.
        title: Title of the page.
        notes: Lines above the results.

    Raises:
        RunError: If the file cannot be written; an earlier one is kept.
    """
    css = Markup(files("ibc_pyg.retrieval.page").joinpath("templates/search.css").read_text())
    rows = [
        (_view(each.query), [(hit, _view(hit.path)) for hit in each.hits], each.vote)
        for each in answers
    ]
    page = (
        _environment()
        .get_template("search.html.j2")
        .render(
            title=title,
            rows=rows,
            notes=notes,
            css=css,
            policy=content_policy(),
            version=ibc_pyg.__version__,
        )
    )
    write_atomically(path, page.encode())


@cache
def _environment() -> Environment:
    environment = page_environment("ibc_pyg.retrieval.page")
    environment.filters["rate"] = rate
    return environment


def _view(picture: Picture) -> _View:
    name, folder = "picture", ""
    if isinstance(picture, str | Path):
        name, folder = Path(picture).name, str(Path(picture).parent)
    try:
        if isinstance(picture, str | Path):
            pixels = decode_image(picture, shrink_to=SIDE)  # [3, H, W]
        else:
            pixels = read_picture(picture, name)  # [3, H, W]
    except DatasetError:
        return _View(None, name, folder)
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    return _View(picture_uri(image, SIDE), name, folder)
