"""The search of an index: exact, or approximate with exact scores where a file allows it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ibc_pyg.errors import RunError, printable, program
from ibc_pyg.retrieval.ann.engine import Engine, check_file
from ibc_pyg.retrieval.ann.record import (
    EXACT_NUMBERS,
    AnnRecord,
    AnnSettings,
    vector_fingerprint,
)
from ibc_pyg.retrieval.nearest import Mask, NearestRows, nearest_among, nearest_rows, unit
from ibc_pyg.retrieval.store.ann_files import ann_name, ann_records, data_file
from ibc_pyg.retrieval.store.vectors import Vectors

Key = tuple[str, int, int]
"""Name of a record, and what changes when it is written again."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ann:
    """An approximate search that is open.

    Attributes:
        record: What it is.
        engine: Its file.
    """

    record: AnnRecord
    engine: Engine


class Searcher:
    """Search in the vectors of an index; warns once where it must be slower than it was meant to.

    Args:
        folder: The index.
        silent: Do not warn.

    Attributes:
        few: Numbers (rows times length) below which a filtered search is exact.
    """

    few = EXACT_NUMBERS

    def __init__(self, folder: Path, *, silent: bool = False) -> None:
        self._folder, self._silent = folder, silent
        self._ann: tuple[Key, Ann] | None = None
        self._warned: set[Key | None] = set()

    def search(
        self,
        vectors: Vectors,
        generation: int,
        settings: AnnSettings,
        queries: Vectors,
        k: int,
        allowed: Mask | None,
    ) -> NearestRows:
        """Find the most similar rows of each query.

        Args:
            vectors: All committed vectors, `[N, D]`.
            generation: Number of the vector file.
            settings: Kind of search.
            queries: `[Q, D]`, finite, of any norm.
            k: Rows per query, >= 1; all that are allowed if there are fewer.
            allowed: Which rows may be found, bool `[N]`; None allows all.

        Returns:
            As `nearest_rows`; if few rows are allowed, or there is no file, the same. Else a row
            may be missing, and the scores and the order of those found are exact.
        """
        ann = self.current(vectors, generation, settings)
        if ann is None:
            return nearest_rows(vectors, queries, k, allowed)
        return search_with(ann, vectors, queries, k, allowed, self.few)

    def current(self, vectors: Vectors, generation: int, settings: AnnSettings) -> Ann | None:
        """Return the approximate search of a state of the index; None searches exactly."""
        if not len(vectors) or settings.kind_for(*vectors.shape) == "exact":
            return None
        for last in (False, True):
            for path in ann_records(self._folder, generation):
                key = _key(path)
                if self._ann is not None and self._ann[0] == key:
                    return self._ann[1]
                if key is None or key in self._warned:
                    continue
                try:
                    ann = self._open(path, vectors, generation)
                except RunError as error:
                    # A rebuild may have come between the list of files and the opening.
                    if last or _key(path) == key:
                        self._warn(key, f"{error}; searching exactly. Mend it: {self._rebuild}")
                    continue
                if ann is not None:
                    self._ann = (key, ann)
                    return ann
        if not self._warned:
            self._warn(
                None,
                f"there is no approximate search; searching exactly. Build it: {self._rebuild}",
            )
        return None

    @property
    def _rebuild(self) -> str:
        return f"{program()} index rebuild {printable(self._folder)}"

    def problems(self, vectors: Vectors, generation: int) -> Iterator[str]:
        """Yield what is wrong with the files of a state of the index, one phrase each."""
        for path in ann_records(self._folder, generation):
            try:
                record = self._record(path, vectors, generation)
                if record is not None:
                    check_file(data_file(path), record)
            except RunError as error:
                yield f"approximate search: {error}; it is not used: {self._rebuild}"

    def close(self) -> None:
        """Close the file."""
        self._ann = None

    def _open(self, path: Path, vectors: Vectors, generation: int) -> Ann | None:
        record = self._record(path, vectors, generation)
        return None if record is None else Ann(record, Engine.open(data_file(path), record))

    def _record(self, path: Path, vectors: Vectors, generation: int) -> AnnRecord | None:
        """Read a record; None if it is of a later state."""
        record = AnnRecord.read(path)
        if record.rows > len(vectors) or record.dim != vectors.shape[1]:
            return None
        fingerprint = vector_fingerprint(vectors[: record.rows])
        if not path.name.startswith(ann_name(generation, record.rows, fingerprint) + "."):
            raise RunError(f"{printable(path)} was made from other vectors")
        return record

    def _warn(self, key: Key | None, text: str) -> None:
        self._warned.add(key)
        if self._silent:
            return
        _logger.warning("%s: %s %s", printable(self._folder), text, printable(self._folder))


def _key(path: Path) -> Key | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return path.name, state.st_ino, state.st_mtime_ns


def search_with(
    ann: Ann,
    vectors: Vectors,
    queries: Vectors,
    k: int,
    allowed: Mask | None,
    few: int,
) -> NearestRows:
    """Search approximately in the rows of a file, and exactly in those that came later.

    Args:
        ann: The file.
        vectors: All committed vectors, `[N, D]`.
        queries: `[Q, D]`, finite, of any norm.
        k: Rows per query, >= 1; all that are allowed if there are fewer.
        allowed: Which rows may be found, bool `[N]`; None allows all.
        few: Numbers (rows times length) below which a filtered search is exact.
    """
    base = ann.record.rows
    inside = base if allowed is None else int(np.count_nonzero(allowed[:base]))
    number = 2 * k + 16
    filtered = inside < base and inside * vectors.shape[1] <= few
    if filtered or number > inside // 2:
        return nearest_rows(vectors, queries, k, allowed)
    # The nearest of those that may be found lie deeper if fewer may be.
    effort = min(ann.engine.most, -(-ann.record.effort * base // inside))
    mask = None if inside == base or allowed is None else allowed[:base]
    rows = ann.engine.find(unit(queries).numpy(), number, k, effort, mask)  # [Q, number]
    if len(vectors) > base:
        later = None if allowed is None else allowed[base:]
        tail = nearest_rows(vectors[base:], queries, k, later).rows + base  # [Q, t]
        rows = np.concatenate([rows, tail], 1)  # [Q, number + t]
    # A zero vector is equally similar to all.
    hard = ((rows[:, :number] >= 0).sum(1) < k) | ~queries.any(1)  # [Q]
    result = NearestRows(
        np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    )
    if hard.any():
        _put(result, hard, nearest_rows(vectors, queries[hard], k, allowed))
    if not hard.all():
        _put(result, ~hard, nearest_among(vectors, queries[~hard], rows[~hard], k))
    return result


def _put(result: NearestRows, which: npt.NDArray[np.bool_], found: NearestRows) -> None:
    result.rows[which], result.similarities[which] = found.rows, found.similarities
