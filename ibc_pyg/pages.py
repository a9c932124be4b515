"""Parts of every HTML page: escaping, the policy against requests, and embedded pictures."""

from __future__ import annotations

import base64
import hashlib
import io
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from ibc_pyg.errors import printable

THUMB_SIDE = 128
"""Pixels of the longer side: twice the size on the page, for high-density screens."""
JPEG_QUALITY = 82

_HARMLESS = "\n\t\u00a0\u3000\u200c\u200d"
"""White space, and joiners of letters in Persian and Indian scripts."""


def page_environment(package: str) -> Environment:
    """Return an environment for the templates of a package, which keeps them compiled.

    Whatever a template inserts is escaped, and so are characters that change the page around them,
    such as marks of direction.

    Args:
        package: Name of the package, which has a folder `templates`.
    """
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_shown,
    )


def content_policy(script: str = "") -> str:
    """Return the content security policy of a page: no request, and no script but the given one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    scripts = f"'sha256-{digest}'" if script else "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src {scripts}; base-uri 'none'; form-action 'none'"
    )


def colours() -> str:
    """Return the style sheet of the colours and type of every page."""
    return files("ibc_pyg").joinpath("templates/colours.css").read_text()


def picture_uri(image: Image.Image, side: int = THUMB_SIDE) -> str:
    """Return a grey or RGB picture as a data URI, the smaller of PNG and JPEG.

    Args:
        image: The picture; scaled down in place.
        side: Pixels of its longer side at most.
    """
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG", optimize=True)
    image.save(jpeg, "JPEG", quality=JPEG_QUALITY, optimize=True)
    kind, content = min(("png", png), ("jpeg", jpeg), key=lambda each: each[1].tell())
    return data_uri(kind, content.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Return the content of a picture file as a data URI; `kind` is png or jpeg."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _shown(value: object) -> object:
    """Return a value as the page shows it; markup of the templates themselves is kept."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return printable(value, keep=_HARMLESS)
