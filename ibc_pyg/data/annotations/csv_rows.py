"""Rows of a CSV file: its dialect, header and cells."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ibc_pyg.data.annotations.text import Line, read_text
from ibc_pyg.errors import shown

REQUIRED = frozenset({"path", "label"})
_MARKS = ",;\t|"


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row under the header.

    Attributes:
        line: Its last line in the file, for messages.
        cells: The cells by the names in the header, in lower case; white space is kept.
    """

    line: Line
    cells: dict[str, str]


def read_csv_rows(file: Path) -> Iterator[CsvRow]:
    """Yield the rows of a CSV file with the columns `path` and `label`, and any others.

    Commas, semicolons, tabs or bars separate cells. Lines before the header that start with `#`,
    and the line `sep=;` of spreadsheets, are passed over.

    Raises:
        DatasetError: If a line is invalid; names file and line.
    """
    text = read_text(file)
    first = re.match(r"(?:(?:#[^\n]*|[ \t]*|(?i:sep=[^\n]{0,2}))\n)*", text)
    skipped = first.end() if first else 0
    before, text = text.count("\n", 0, skipped), text[skipped:]
    delimiter = _delimiter(text.split("\n", 1)[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for record in reader:
            line = Line(file, before + reader.line_num, delimiter.join(record))
            if not any(cell.strip() for cell in record):
                continue
            if header is None:
                header = _header(line, record)
                continue
            if len(record) != len(header):
                raise line.error(f"{len(record)} fields, but the header has {len(header)}")
            yield CsvRow(line, dict(zip(header, record, strict=True)))
    except csv.Error as error:
        raise Line(file, before + reader.line_num, "").error(str(error)) from error


def _delimiter(header: str) -> str:
    """Return the mark that separates the names of a header."""
    for mark in _MARKS:
        if set(_names(header.split(mark))) >= REQUIRED:
            return mark
    return next((mark for mark in _MARKS if mark in header), ",")


def _names(cells: Sequence[str]) -> list[str]:
    return [cell.strip().strip('"').lower() for cell in cells]


def _header(line: Line, cells: Sequence[str]) -> list[str]:
    names = _names(cells)
    if not set(names) >= REQUIRED or len(set(names)) != len(names):
        raise line.error(f"the header must be `path,label[,split]`, found {shown(line.text)}")
    return names
