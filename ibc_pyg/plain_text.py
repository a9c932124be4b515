"""Text of any origin, written where it could act as markup: logs, CSV sheets and Markdown."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterable, Sequence

from ibc_pyg.errors import printable

_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""First characters of a cell that a spreadsheet evaluates, also in their full-width forms."""
_MARKUP = re.compile(r"[\\`|*<>\[\]$~]|(?<!\w)_|_(?!\w)")


class LineFormatter(logging.Formatter):
    """Formats a record on one printable line; a traceback follows on further lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - name of the library
        """Return the line of a record."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 - name of the library
        """Return the lines of a traceback."""
        return printable(super().formatException(ei), keep="\n")  # type: ignore[arg-type]


def log_lines(level: int) -> None:
    """Log warnings of this process to standard error, one printable line each.

    Args:
        level: Lowest level that is logged.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)


def to_sheet(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV in which no text is a formula and each row is one line."""
    sheet = io.StringIO()
    csv.writer(sheet, lineterminator="\n").writerows(map(_sheet_cell, row) for row in rows)
    return sheet.getvalue()


def _sheet_cell(value: object) -> object:
    """Return a cell; a text that a spreadsheet would evaluate gets a leading apostrophe."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def markdown_text(text: str) -> str:
    """Return a text on one line of Markdown, also in a cell of a table, without markup in it."""
    return _MARKUP.sub(r"\\\g<0>", printable(text))


def markdown_code(text: str) -> str:
    """Return a text as a code span of Markdown."""
    text = printable(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"
