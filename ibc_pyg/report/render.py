"""HTML pages from the templates of this package, each a self-contained file."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import ibc_pyg
from ibc_pyg.errors import printable
from ibc_pyg.report.encode import is_small, palette_uri, thumb_uri
from ibc_pyg.report.heat_map import PALETTES
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
    css, script = (
        Markup(files("ibc_pyg.report").joinpath("templates", name).read_text("utf-8"))
        for name in ("report.css", "report.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            title=title,
            css=css,
            script=script,
            policy=policy,
            version=ibc_pyg.__version__,
            **content,
        )
    )


_HARMLESS = "\n\t\u00a0\u3000\u200c\u200d"
"""White space, and joiners of letters in Persian and Indian scripts."""


@cache
def _environment() -> Environment:
    """Return the environment, which keeps its compiled templates."""
    environment = Environment(
        loader=PackageLoader("ibc_pyg.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_shown,
    )
    environment.filters |= {
        "metric": format_metric,
        "thumb_uri": thumb_uri,
        "palette_uri": lambda shades, name: palette_uri(shades, PALETTES[name]),
    }
    environment.tests["small"] = is_small
    return environment


def _shown(value: object) -> object:
    """Return a value as the page shows it; markup of the templates themselves is kept."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return printable(value, keep=_HARMLESS)
