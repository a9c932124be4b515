"""Reading MATLAB annotation files, every error naming the file and the entry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ibc_pyg.data.annotations import path_problem, printable, read_bytes, shown
from ibc_pyg.data.sets.mat5 import Mat5Error, Mat5Reader, Value
from ibc_pyg.errors import DatasetError


class MatEntry:
    """One element of a structure array.

    Args:
        file: The file, for messages.
        number: Number of the element, from 1.
        fields: Its fields.
    """

    __slots__ = ("fields", "file", "number")

    def __init__(self, file: Path, number: int, fields: dict[str, Value]) -> None:
        self.file = file
        self.number = number
        self.fields = fields

    def error(self, problem: str) -> DatasetError:
        """Return (not raise) the error that says what is wrong in this entry."""
        return DatasetError(f"{printable(self.file)}, entry {self.number}: {problem}")

    def integer(self, field: str) -> int:
        """Return the non-negative whole number in `field`.

        Raises:
            DatasetError: If it is anything else.
        """
        value = self.fields[field]
        if not isinstance(value, np.ndarray) or value.size != 1:
            raise self.error(f"field {field} is not one number")
        number = float(value[0])
        if not 0 <= number < 2**31 or number != int(number):
            raise self.error(f"field {field} is no whole number: {number}")
        return int(number)

    def path(self, field: str) -> str:
        """Return the relative image path in `field`.

        Raises:
            DatasetError: If it is no text, or leaves the folder.
        """
        value = self.fields[field]
        if not isinstance(value, str):
            raise self.error(f"field {field} is no text")
        if problem := path_problem(value):
            raise self.error(f"field {field}: path {shown(value)} {problem}")
        return value


def _damaged(file: Path, error: Mat5Error) -> DatasetError:
    return DatasetError(f"{printable(file)}: {error}; fetch it again, or another copy")


def read_struct(file: Path, variable: str, fields: Sequence[str]) -> list[MatEntry]:
    """Read a structure array.

    Args:
        file: MATLAB file of version 5 to 7.
        variable: Name of the structure array.
        fields: Fields that are read; all must be there.

    Raises:
        DatasetError: If the file is damaged, or the variable or a field is missing.
    """
    try:
        elements = Mat5Reader(read_bytes(file)).struct(variable, fields)
    except Mat5Error as error:
        raise _damaged(file, error) from error
    for element in elements[:1]:
        if absent := [field for field in fields if field not in element]:
            raise DatasetError(f"{printable(file)}: {variable} has no field {', '.join(absent)}")
    return [MatEntry(file, number, element) for number, element in enumerate(elements, start=1)]


def read_strings(file: Path, variable: str) -> list[str]:
    """Read a cell array of texts.

    Raises:
        DatasetError: If the file is damaged, or an entry is no printable text.
    """
    try:
        values = Mat5Reader(read_bytes(file)).cells(variable)
    except Mat5Error as error:
        raise _damaged(file, error) from error
    texts = []
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str) or not value.isprintable():
            raise DatasetError(f"{printable(file)}, entry {number}: {variable} is no text")
        texts.append(value)
    return texts
