"""Frame of the pages of collections: style, policy, small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

import ibc_pyg
from ibc_pyg.data.images.cpu_count import decoding_threads
from ibc_pyg.files import write_atomically
from ibc_pyg.pages import content_policy, page_environment
from ibc_pyg.retrieval.page.page import style
from ibc_pyg.retrieval.page.view import View, view

SIDE = 160
"""Pixels of the longer side of a picture."""


def views(paths: Sequence[str], side: int = SIDE) -> dict[str, View]:
    """Return picture files for a page by their paths, read on several threads."""
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(decoding_threads()) as pool:
        return dict(zip(unique, pool.map(lambda path: view(path, side), unique), strict=True))


def write_page(
    path: Path, template: str, title: str, notes: Sequence[str], script: str = "", **values: object
) -> None:
    """Write a self-contained page.

    A content security policy in the page forbids every request and every script but its own. All
    texts are escaped.

    Args:
        path: The HTML file.
        template: Name of the template.
        title: Title of the page.
        notes: Lines above the content.
        script: Script of the page.
        **values: Variables of the template.

    Raises:
        RunError: If the file cannot be written; an earlier one is kept.
    """
    own = files("ibc_pyg.collections.page").joinpath("templates")
    css = style() + own.joinpath("collections.css").read_text()
    page = (
        _environment()
        .get_template(template)
        .render(
            title=title,
            notes=notes,
            css=Markup(css),
            script=Markup(script),
            policy=content_policy(script),
            version=ibc_pyg.__version__,
            **values,
        )
    )
    write_atomically(path, page.encode())


def script_file(name: str) -> str:
    """Return a script of the templates."""
    return files("ibc_pyg.collections.page").joinpath(f"templates/{name}").read_text()


@cache
def _environment() -> Environment:
    return page_environment("ibc_pyg.collections.page")
