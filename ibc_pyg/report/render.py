"""HTML pages from the templates of this package, each a self-contained file."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

import ibc_pyg
from ibc_pyg.pages import colours, content_policy, page_environment
from ibc_pyg.report.figures.encode import is_small, palette_uri, thumb_uri
from ibc_pyg.report.figures.heat_map import PALETTES
from ibc_pyg.report.metrics import format_metric


def render_page(template: str, title: str, **content: Any) -> str:
    """Return a page that holds its style sheet, its script and its pictures.

    A content security policy in the page forbids every request and every other script. Whatever
    the template inserts is escaped, and so are characters that change the page around them, such as
    marks of direction.

    Args:
        template: File name of a template that extends `base.html.j2`.
        title: Title of the page.
        content: Variables of the template.
    """
    own, script = (
        Markup(files("ibc_pyg.report").joinpath("templates", name).read_text("utf-8"))
        for name in ("report.css", "report.js")
    )
    css = Markup(colours()) + own
    return (
        _environment()
        .get_template(template)
        .render(
            title=title,
            css=css,
            script=script,
            policy=content_policy(script),
            version=ibc_pyg.__version__,
            **content,
        )
    )


@cache
def _environment() -> Environment:
    """Return the environment, which keeps its compiled templates."""
    environment = page_environment("ibc_pyg.report")
    environment.filters |= {
        "metric": format_metric,
        "thumb_uri": thumb_uri,
        "palette_uri": lambda shades, name: palette_uri(shades, PALETTES[name]),
    }
    environment.tests["small"] = is_small
    return environment
