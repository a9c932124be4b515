"""MATLAB annotation files; errors name the file and the entry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ibc_pyg.data.annotations.text import path_problem, read_bytes
from ibc_pyg.errors import DatasetError, printable, reason, shown

TIMEOUT_S = 120.0
CHILD = Path(__file__).with_name("matlab_child.py")


@dataclass(frozen=True, slots=True)
class MatEntry:
    """One element of a structure array.

    Attributes:
        file: The file, for messages.
        number: Number of the element, from 1.
        fields: Texts, lists of numbers, or None for values of other kinds.
    """

    file: Path
    number: int
    fields: dict[str, Any]

    def error(self, problem: str) -> DatasetError:
        """Return (not raise) the error that describes a problem of this entry."""
        return DatasetError(f"{printable(self.file)}, entry {self.number}: {problem}")

    def integer(self, field: str) -> int:
        """Return the non-negative integer in `field`.

        Raises:
            DatasetError: If it is anything else.
        """
        value = self.fields[field]
        if not isinstance(value, list) or len(value) != 1:
            raise self.error(f"field {field} is not a single number")
        number = float(value[0])
        if not 0 <= number < 2**31 or number != int(number):
            raise self.error(f"field {field} is not a non-negative integer: {number}")
        return int(number)

    def path(self, field: str) -> str:
        """Return the relative image path in `field`.

        Raises:
            DatasetError: If it is not a text, or the path leaves the folder of the data set.
        """
        value = self.fields[field]
        if not isinstance(value, str):
            raise self.error(f"field {field} is not a text")
        if problem := path_problem(value):
            raise self.error(f"field {field}: path {shown(value)} {problem}")
        return value


def read_struct(file: Path, variable: str, fields: Sequence[str]) -> list[MatEntry]:
    """Read a structure array.

    Args:
        file: MATLAB file of version 4 to 7.
        variable: Name of the structure array.
        fields: Fields to read.

    Raises:
        DatasetError: If the file is damaged, or the variable or a field is missing.
    """
    return [
        MatEntry(file, number, dict(zip(fields, values, strict=True)))
        for number, values in enumerate(_read(file, variable, fields), start=1)
    ]


def read_strings(file: Path, variable: str) -> list[str]:
    """Read a cell array of texts.

    Raises:
        DatasetError: If the file is damaged, or an entry is not a printable text.
    """
    texts: list[str] = []
    for number, value in enumerate(_read(file, variable), start=1):
        if not isinstance(value, str) or not value.isprintable():
            raise DatasetError(
                f"{printable(file)}, entry {number}: {variable} is not a printable text"
            )
        texts.append(value)
    return texts


def _read(file: Path, variable: str, fields: Sequence[str] = ()) -> list[Any]:
    """Read a variable in a child process, whose crash is an error message here."""
    data = read_bytes(file)
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    try:
        child = subprocess.run(
            # -P: no module of the working directory may take the place of a library.
            [sys.executable, "-P", str(CHILD), variable, *fields],
            input=data,
            capture_output=True,
            timeout=TIMEOUT_S,
            env={**os.environ, **threads},  # every thread reserves address space
            check=False,
        )
        if child.returncode:
            raise ValueError(f"the MATLAB reader failed with exit status {child.returncode}")
        result = json.loads(child.stdout)
        if "error" in result:
            raise ValueError(result["error"])
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise DatasetError(
            f"{printable(file)}: {reason(error)}; download it again or use another copy"
        ) from error
    entries: list[Any] = result["entries"]
    return entries
