"""npz files from others, whose arrays are no larger than the file says."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ibc_pyg.errors import reason
from ibc_pyg.files import open_zip

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class NpzError(Exception):
    """An npz file or an array in it cannot be read; the message is the reason."""


def read_npz(path: Path, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    """Read arrays of plain numbers or texts; nothing is unpickled.

    Args:
        path: The npz file.
        names: Arrays to read; those that it does not have are left out.

    Raises:
        OSError: If the file cannot be read.
        NpzError: If it is not an npz file, unpacks to many times its size, or an array is damaged
            or holds objects.
    """
    found = {}
    part = "as an npz file of named arrays"
    # zipfile, zlib and numpy raise exceptions of many types on a damaged archive.
    try:
        with open_zip(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            for name in names:
                if info := members.get(f"{name}.npy"):
                    part = f"array {name!r}"
                    found[name] = _read_array(archive, info)
    except OSError:
        raise
    except Exception as error:
        raise NpzError(f"{part}: {reason(error)}") from error
    return found


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"its format {version} is not supported")
        shape, _, dtype = _HEADERS[version](stream)
        if dtype.hasobject:
            raise ValueError("it holds objects, which are not unpickled")
        # numpy reserves the memory before it finds out that the values are missing.
        count = math.prod(shape)
        if count * dtype.itemsize > info.file_size or (count and not dtype.itemsize):
            raise ValueError(f"its header claims {count:,} values, more than it holds")
    with archive.open(info) as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array
