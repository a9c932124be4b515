"""Self-contained HTML page of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

import ibc_pyg
from ibc_pyg.data.images.pictures import Picture
from ibc_pyg.files import write_atomically
from ibc_pyg.pages import colours, content_policy, page_environment
from ibc_pyg.retrieval.hits import Hit, Vote, rate
from ibc_pyg.retrieval.page.view import view

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
    css = Markup(style())
    rows = [
        (view(each.query, SIDE), [(hit, view(hit.path, SIDE)) for hit in each.hits], each.vote)
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


def style() -> str:
    """Return the style sheet of hits."""
    own = files("ibc_pyg.retrieval.page").joinpath("templates/search.css")
    return colours() + own.read_text()


@cache
def _environment() -> Environment:
    environment = page_environment("ibc_pyg.retrieval.page")
    environment.filters["rate"] = rate
    return environment
