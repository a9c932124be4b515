"""Shared parts of the builders of refined vectors: the index, its neighbours, files in chunks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from torch import Tensor

from ibc_pyg.console import Progress
from ibc_pyg.errors import RunError, printable, reason
from ibc_pyg.files import open_draft, read_bounded
from ibc_pyg.refinement.method import mixed
from ibc_pyg.retrieval.nearest import Mask, NearestRows, nearest_rows, unit
from ibc_pyg.retrieval.refined.lists import StoredLists, map_lists, no_lists
from ibc_pyg.retrieval.refined.record import FOLDER, LIST_FILE, VECTOR_FILE, file_of
from ibc_pyg.retrieval.store.vectors import Vectors, map_vectors

Rows = npt.NDArray[np.int64]
Find = Callable[[Vectors, int], NearestRows]
"""Search for the k nearest live rows of queries `[Q, D]`."""

_CHUNK = 2**22
"""Numbers of the vectors that are refined at a time, with their neighbours."""
_MOST_BYTES = 2**28
"""Most bytes of the file of a refiner."""


@dataclass
class Writing:
    """Files that are derived from the vectors of an index.

    Attributes:
        folder: The index.
        vectors: All its vectors, `[N, D]`.
        live: Which rows have a picture, bool `[N]`.
        find: Its search, approximate in a large index.
        console: Console of the progress.
        digests: SHA-256 of the files that were written.
        paths: These files.
    """

    folder: Path
    vectors: Vectors
    live: Mask
    find: Find
    console: Console
    digests: list[str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)

    def neighbours(self, stage: Vectors, own: Rows, k: int) -> NearestRows:
        """Find the nearest live rows of rows, without each one itself.

        Args:
            stage: The vectors of the index, or those of a round, which are searched exactly.
            own: Live rows, `[n]`.
            k: Neighbours; all there are if there are fewer.
        """
        k = min(k, int(self.live.sum()) - 1)
        if k <= 0:
            empty = (len(own), 0)
            return NearestRows(np.empty(empty, np.int64), np.empty(empty, np.float32))
        if stage is self.vectors:
            found = self.find(stage[own], k + 1)
        else:
            found = nearest_rows(stage, stage[own], k + 1, self.live)
        return found.without(own)

    def write_vectors(self, width: int, share: float, refine: Callable[[Rows], Tensor]) -> Vectors:
        """Write the refined vectors of a round, mixed with the unrefined ones.

        Args:
            width: Numbers that the refinement of a row needs at a time.
            share: Share of the unrefined cosine, in [0, 1).
            refine: From live rows `[n]` to their refined vectors, unit-norm `[n, D]`.

        Returns:
            The vectors, `[N, D']`; those of rows without a picture are zeros.
        """
        dim = self.vectors.shape[1] * (2 if share else 1)

        def make(rows: Rows) -> Vectors:
            live, out = self.live[rows], np.zeros((len(rows), dim), np.dtype("<f4"))
            if live.any():
                x = unit(self.vectors[rows[live]])  # [n, D]
                out[live] = mixed(x, refine(rows[live]), share).numpy()
            return out

        return map_vectors(self._write(VECTOR_FILE, width, make), len(self.vectors), dim)

    def write_lists(
        self, width: int, most: int, find: Callable[[Rows], NearestRows]
    ) -> StoredLists:
        """Write lists of rows with a number each.

        Args:
            width: Numbers that a list needs at a time.
            most: Length of the lists.
            find: From live rows `[n]` to their lists, up to `[n, most]`; the row -1 is none.

        Returns:
            The lists, `[N, most]`; those of rows without a picture are empty.
        """

        def make(rows: Rows) -> StoredLists:
            live, out = self.live[rows], no_lists(len(rows), most)
            if live.any():
                found = find(rows[live])
                out["row"][live, : found.rows.shape[1]] = found.rows
                out["value"][live, : found.rows.shape[1]] = found.similarities
            return out

        return map_lists(self._write(LIST_FILE, width, make), len(self.vectors), most)

    def copy(self, kind: str, source: Path) -> None:
        """Copy a file to those of the refinement."""
        try:
            content = np.frombuffer(read_bounded(source, _MOST_BYTES), np.uint8)
        except OSError as error:
            raise RunError(f"{printable(source)} cannot be read: {reason(error)}") from error
        self._write(kind, 1, lambda rows: content if not rows[0] else content[:0])

    def _write(self, kind: str, width: int, make: Callable[[Rows], Any]) -> Path:
        """Write what `make` returns for successive rows, atomically."""
        number, count, digest = len(self.paths), len(self.vectors), hashlib.sha256()
        name = self.folder / FOLDER / f"{number + 1}{kind}"
        step = max(1, _CHUNK // max(1, width))
        draft: Path | None = None
        try:
            draft, file = open_draft(name)
            with file, Progress(count, "refinement", console=self.console) as bar:
                for start in range(0, count, step):
                    rows = np.arange(start, min(start + step, count))
                    part = make(rows).tobytes()
                    digest.update(part)
                    file.write(part)
                    bar.update(int(rows[-1]) + 1)
                file.flush()
                os.fsync(file.fileno())
            path = file_of(self.folder, number, kind, digest.hexdigest())
            draft.replace(path)
        except OSError as error:
            raise RunError(f"{printable(name)} cannot be written: {reason(error)}") from error
        finally:
            if draft is not None:
                draft.unlink(missing_ok=True)
        self.paths.append(path)
        self.digests.append(digest.hexdigest())
        return path
