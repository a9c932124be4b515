"""Text annotation files; errors name the file and the line."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ibc_pyg.errors import DatasetError, printable, reason, shown
from ibc_pyg.files import read_bounded

MAX_BYTES = 256 * 2**20  # the largest published list, that of In-Shop, has 5 MB
MAX_DIGITS = 9
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def read_bytes(file: Path) -> bytes:
    """Read a whole annotation file.

    Raises:
        DatasetError: If the file cannot be read, is not a regular file, or has more than 256 MiB.
    """
    try:
        return read_bounded(file, MAX_BYTES)
    except OSError as error:
        raise DatasetError(f"{printable(file)}: cannot be read: {reason(error)}") from error


def read_text(file: Path) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte order mark, with normalised line ends.

    Raises:
        DatasetError: If it cannot be read, or a line is in another encoding.
    """
    data = read_bytes(file)
    try:
        text = data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{printable(file)}, line {number}: not UTF-8 text; save the file as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an annotation file.

    Attributes:
        file: The file.
        number: Its line number, from 1.
        text: The line without surrounding white space.
    """

    file: Path
    number: int
    text: str

    def error(self, problem: str) -> DatasetError:
        """Return (not raise) the error that describes a problem of this line."""
        return DatasetError(f"{printable(self.file)}, line {self.number}: {problem}")

    def fields(self, names: str, *, sep: str | None = None, long: int = -1) -> list[str]:
        """Split the line into as many fields as `names` has words.

        Args:
            names: The field names, separated by spaces; for the message.
            sep: Separator; None for white space.
            long: Index of the field that may contain the separator.

        Raises:
            DatasetError: If a field is missing or empty.
        """
        count = len(names.split())
        long %= count
        head = self.text.split(sep, long)
        tail = head.pop().rsplit(sep, count - 1 - long) if len(head) > long else []
        found = [part.strip() for part in head + tail]
        if len(found) != count or not all(found):
            raise self.error(f"expected `{names}`, found {shown(self.text)}")
        return found

    def integer(self, text: str, name: str) -> int:
        """Return a non-negative integer of at most nine digits.

        Raises:
            DatasetError: If it is anything else.
        """
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
            raise self.error(f"{name} must be a non-negative integer, found {shown(text)}")
        return int(text)

    def relative_path(self, text: str) -> str:
        """Return an image path that stays inside the data set's folder.

        Raises:
            DatasetError: If the path is absolute, contains `..`, or has control characters.
        """
        problem = path_problem(text)
        if problem:
            raise self.error(f"image path {shown(text)} {problem}")
        return text


def path_problem(text: str) -> str | None:
    """Return the problem of a relative image path, or None if it is valid."""
    parts = text.split("/")
    if not text.strip("/."):
        return "names no file"
    if UNPRINTABLE.search(text):
        return "has control characters"
    if text.startswith("/") or ".." in parts:
        return "leaves the folder of the data set"
    if len(text) > 1024 or (len(text) > 60 and any(len(part.encode()) > 255 for part in parts)):
        return "is longer than a file name can be"
    return None


def read_lines(file: Path) -> Iterator[Line]:
    """Yield the lines of a text file that are not blank.

    Raises:
        DatasetError: If the file cannot be read or is not UTF-8.
    """
    for number, text in enumerate(read_text(file).split("\n"), start=1):
        if stripped := text.strip():
            yield Line(file, number, stripped)
