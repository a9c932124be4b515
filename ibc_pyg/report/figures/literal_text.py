"""Figures of matplotlib in which no text is markup."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl


@contextmanager
def literal_text() -> Iterator[None]:
    """Make figures that are built and drawn within the block show each text as it is.

    A `$` would start a formula otherwise, and a wrong formula raises an error. Letters that the
    font lacks are drawn as boxes, without a warning.
    """
    literal = {"text.parse_math": False, "text.usetex": False}
    with mpl.rc_context(literal), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield
