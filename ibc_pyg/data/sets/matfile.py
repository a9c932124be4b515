"""Reading MATLAB annotation files, which may come from anywhere."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from ibc_pyg.data.annotations import path_problem, printable, read_bytes, shown
from ibc_pyg.errors import DatasetError

MAX_ENTRIES = 10**6


class MatEntry:
    """One element of a structure array.

    Args:
        file: The file, for messages.
        number: Number of the element, from 1.
        record: The element, a record of object fields.
    """

    def __init__(self, file: Path, number: int, record: Any) -> None:
        self.file = file
        self.number = number
        self.record = record

    def error(self, problem: str) -> DatasetError:
        """Return (not raise) the error that says what is wrong in this entry."""
        return DatasetError(f"{printable(self.file)}, entry {self.number}: {problem}")

    def _item(self, field: str) -> Any:
        try:
            value = np.asarray(self.record[field])
        except (ValueError, IndexError, KeyError, TypeError) as error:
            raise self.error(f"has no field {field}") from error
        if value.size != 1:
            raise self.error(f"field {field} holds {value.size} values, expected one")
        return value.reshape(-1)[0]

    def integer(self, field: str) -> int:
        """Return the non-negative whole number in `field`.

        Raises:
            DatasetError: If it is anything else.
        """
        value = self._item(field)
        if not isinstance(value, (np.number, np.bool_)) or not 0 <= value.real < 2**31:
            raise self.error(f"field {field} is no whole number: {shown(str(value))}")
        if value != int(value.real):
            raise self.error(f"field {field} is no whole number: {shown(str(value))}")
        return int(value.real)

    def path(self, field: str) -> str:
        """Return the relative image path in `field`.

        Raises:
            DatasetError: If it is no text, or leaves the folder.
        """
        value = self._item(field)
        if not isinstance(value, str):
            raise self.error(f"field {field} is no text")
        if problem := path_problem(str(value)):
            raise self.error(f"field {field}: path {shown(str(value))} {problem}")
        return str(value)


def _load(file: Path, variable: str) -> np.ndarray[Any, np.dtype[Any]]:
    data = read_bytes(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shapes = {name: shape for name, shape, _ in scipy.io.whosmat(io.BytesIO(data))}
            if np.prod(shapes.get(variable, (0,)), dtype=float) > MAX_ENTRIES:
                raise ValueError(f"{variable} claims the shape {shapes[variable]}")
            content = scipy.io.loadmat(io.BytesIO(data), variable_names=[variable])
    except Exception as error:  # scipy has no common error for files that are damaged
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DatasetError(
            f"{printable(file)}: damaged or no MATLAB 5 file ({reason}); fetch it again"
        ) from error
    value = content.get(variable)
    if not isinstance(value, np.ndarray):
        raise DatasetError(f"{printable(file)}: has no variable {variable}")
    return value


def read_struct(file: Path, variable: str, fields: Sequence[str]) -> list[MatEntry]:
    """Read a structure array.

    Args:
        file: MATLAB file of version 5 to 7.
        variable: Name of the structure array.
        fields: Fields that it must have.

    Raises:
        DatasetError: If the file is damaged, or the variable or a field is missing.
    """
    value = _load(file, variable)
    names = value.dtype.names or ()
    absent = [field for field in fields if field not in names]
    if absent:
        raise DatasetError(f"{printable(file)}: {variable} has no field {', '.join(absent)}")
    return [MatEntry(file, number, record) for number, record in enumerate(value.flat, start=1)]


def read_strings(file: Path, variable: str) -> list[str]:
    """Read a cell array of texts.

    Raises:
        DatasetError: If the file is damaged, or an entry is no text.
    """
    texts = []
    for number, cell in enumerate(_load(file, variable).flat, start=1):
        item = np.asarray(cell)
        if item.size != 1 or not isinstance(item.reshape(-1)[0], str):
            raise DatasetError(f"{printable(file)}, entry {number}: {variable} is no text")
        texts.append(str(item.reshape(-1)[0]))
    return texts
