"""Vectors of an index: one raw file of float32, to which rows are appended."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ibc_pyg.errors import RunError, printable, reason
from ibc_pyg.files import open_in_place, sync_folder

Vectors = npt.NDArray[np.float32]
"""Vectors, little-endian float32 `[N, D]`."""

_FLOAT = np.dtype("<f4")


def vector_file(folder: Path, generation: int) -> Path:
    """Return the vector file of a generation; `compact` begins the next one."""
    return folder / f"vectors-{generation:06d}.f32"


def map_vectors(path: Path, rows: int, dim: int) -> Vectors:
    """Map the committed rows of a vector file into memory, without reading them.

    Rows behind them, of a commit that never came or is still to come, are ignored.

    Returns:
        `[rows, dim]`; writes into it stay in this process.

    Raises:
        FileNotFoundError: If the file is missing.
        RunError: If it is too short or cannot be read.
    """
    if not rows:
        return np.empty((0, dim), _FLOAT)
    try:
        _check_size(path, path.stat().st_size, rows, dim)
        # torch asks for writable memory; copy on write leaves the file unchanged.
        mapped: Any = np.memmap(path, dtype=_FLOAT, mode="c", shape=(rows, dim))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise RunError(f"{printable(path)} cannot be read: {reason(error)}") from error
    return np.asarray(mapped)


def _check_size(path: Path, size: int, rows: int, dim: int) -> None:
    there = size // (dim * _FLOAT.itemsize)
    if there < rows:
        raise RunError(
            f"{printable(path)} is damaged: it has {there:,} of {rows:,} vectors; restore the "
            "folder, or build the index again"
        )


class VectorWriter:
    """Append rows to a vector file; they count once the catalogue is committed.

    Args:
        path: The file; created if it is missing and `rows` is 0.
        rows: Committed rows; what a killed process left behind them is cut off.
        dim: Length D of a vector.

    Raises:
        RunError: If the file is a link, too short, or cannot be written.
    """

    def __init__(self, path: Path, rows: int, dim: int) -> None:
        self.path, self.rows, self.dim = path, rows, dim
        try:
            if rows and not path.is_file():
                raise RunError(
                    f"{printable(path)} is missing; restore it, or build the index again"
                )
            self._file = open_in_place(path)
            try:
                _check_size(path, os.fstat(self._file.fileno()).st_size, rows, dim)
                self._file.truncate(rows * dim * _FLOAT.itemsize)
                if not rows:
                    sync_folder(path.parent)  # the file may be new
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise self._error(error) from error

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as problem:  # the rest of a write that failed
            if error is None:
                raise self._error(problem) from problem

    def append(self, vectors: Vectors) -> None:
        """Append rows `[B, D]` and wait until they are on the disk.

        Raises:
            RunError: If the disk is full; the file is as before.
        """
        try:
            self._file.write(np.ascontiguousarray(vectors, _FLOAT).tobytes())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._error(error) from error
        self.rows += len(vectors)

    def _error(self, error: OSError) -> RunError:
        return RunError(f"{printable(self.path)} cannot be written: {reason(error)}")
