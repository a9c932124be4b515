"""Script that reads one variable of a MATLAB file, given on stdin, and prints it as JSON.

`scipy.io.loadmat` can crash the interpreter on a damaged file, so `matlab.py` runs this file in a
process of its own. It imports nothing of ibc_pyg.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import numpy as np
from scipy.io import loadmat

MAX_MEMORY = 2 * 2**30
MAX_ENTRIES = 10**6
MAX_NUMBERS = 16
MAX_TEXT = 4096
MAX_OUTPUT = 64 * 2**20


def limit_memory() -> None:
    """Limit the address space of this process to `MAX_MEMORY` bytes, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


def plain(value: object) -> str | list[float] | None:
    """Return a text, the numbers of a small array, or None for anything else."""
    while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.item()  # a text in a cell
    if not isinstance(value, np.ndarray):
        return None
    if value.dtype.kind == "U" and value.size <= 1:
        text = str(value.item()) if value.size else ""
        return text if len(text) <= MAX_TEXT else None
    if value.dtype.kind in "iufb" and value.size <= MAX_NUMBERS:
        return [float(number) for number in value.flat]
    return None


def read(data: bytes, variable: str, fields: list[str]) -> dict[str, Any]:
    """Return `{"entries": [...]}`, or `{"error": message}`.

    Args:
        data: The content of the file.
        variable: Name of a structure array, or of a cell array if there are no fields.
        fields: Fields of the structure array that are read.
    """
    found = loadmat(io.BytesIO(data), variable_names=[variable]).get(variable)
    kind = "structure" if fields else "cell"
    if found is None:
        return {"error": f"has no variable {variable}"}
    if not isinstance(found, np.ndarray) or (found.dtype.names is None) == bool(fields):
        return {"error": f"variable {variable} is not a {kind} array"}
    if found.dtype.names is None and found.dtype != object:
        return {"error": f"variable {variable} is not a {kind} array"}
    if absent := [field for field in fields if field not in found.dtype.names]:
        return {"error": f"{variable} has no field {', '.join(absent)}"}
    if found.size > MAX_ENTRIES:
        return {"error": f"variable {variable} has more than {MAX_ENTRIES:,} entries"}
    if fields:
        return {"entries": [[plain(entry[field]) for field in fields] for entry in found.flat]}
    return {"entries": [plain(entry) for entry in found.flat]}


def main() -> None:
    """Read stdin; the arguments are the variable and the fields."""
    limit_memory()
    try:
        result = read(sys.stdin.buffer.read(), sys.argv[1], sys.argv[2:])
    except Exception as error:  # loadmat raises many kinds on damaged files
        result = {"error": f"not a readable MATLAB file ({type(error).__name__}: {error})"}
    text = json.dumps(result)
    if len(text) > MAX_OUTPUT:
        text = json.dumps({"error": f"its entries have more than {MAX_OUTPUT:,} characters"})
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
