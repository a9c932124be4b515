"""Arrays of embeddings, in memory or streamed to a memory-mapped file."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from ibc_pyg.errors import RunError
from ibc_pyg.files import is_stream, open_draft

_HEADER_BYTES = 128
"""Length of the .npy header, sufficient for any number of rows."""


class Embeddings(np.ndarray[Any, np.dtype[np.float32]]):
    """Unit-norm embeddings, float32 `[M, D]`, with the rows of the input that they belong to.

    Attributes:
        rows: Row of the input of each embedding, int64 `[M]`, ascending; None in arrays derived
            from this one.
    """

    rows: npt.NDArray[np.int64] | None

    def __array_finalize__(self, source: object) -> None:
        """Drop `rows`, which are wrong for slices and copies."""
        self.rows = None

    @classmethod
    def of(cls, vectors: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> Embeddings:
        """Return a view of `vectors` with `rows`."""
        result = vectors.view(cls)
        result.rows = rows
        return result


class EmbeddingsWriter:
    """Writer of embeddings to memory, or to a .npy file that appears when it is complete.

    Args:
        dim: Length D of an embedding.
        path: The file; None keeps the embeddings in memory.

    Raises:
        RunError: If the file cannot be written.
    """

    def __init__(self, dim: int, path: Path | None) -> None:
        self.dim, self.path = dim, path
        self._parts: list[npt.NDArray[np.float32]] = []
        self._rows: list[npt.NDArray[np.int64]] = []
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Open a temporary file beside `path`."""
        if self.path is not None:
            if self.path.is_dir():
                raise RunError(f"{self.path} is a folder; give the name of a .npy file")
            if is_stream(self.path):
                raise RunError(f"{self.path} is a device or a pipe; give the name of a .npy file")
            try:
                self._draft, self._file = open_draft(self.path)
                self._file.write(bytes(_HEADER_BYTES))
            except OSError as error:
                raise self._error(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the temporary file, if it has not been renamed."""
        if self._file is not None:
            self._file.close()
            self._draft.unlink(missing_ok=True)

    def add(self, vectors: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> None:
        """Append embeddings, float32 `[B, D]`, of rows of the input, int64 `[B]`."""
        self._rows.append(rows)
        if self._file is None:
            self._parts.append(vectors)
            return
        try:
            self._file.write(np.ascontiguousarray(vectors).tobytes())
        except OSError as error:
            raise self._error(error) from error

    def finish(self) -> Embeddings:
        """Return all embeddings, `[M, D]`; a file is synced, renamed and memory-mapped."""
        rows = np.concatenate([np.empty(0, np.int64), *self._rows])  # [M]
        if self._file is None or self.path is None:
            vectors = np.concatenate([np.empty((0, self.dim), np.float32), *self._parts])  # [M, D]
            return Embeddings.of(vectors, rows)
        try:
            self._file.seek(0)
            self._file.write(npy_header(len(rows), self.dim))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._draft.replace(self.path)
        except OSError as error:
            raise self._error(error) from error
        if not len(rows):
            return Embeddings.of(np.load(self.path), rows)
        return Embeddings.of(np.load(self.path, mmap_mode="r"), rows)

    def _error(self, error: OSError) -> RunError:
        return RunError(f"{self.path} cannot be written: {error.strerror}")


def npy_header(rows: int, dim: int) -> bytes:
    """Return the header of a .npy file of float32 `[rows, dim]`, of a fixed length.

    https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
    start = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    return start + text.ljust(_HEADER_BYTES - 11).encode() + b"\n"
