"""Search with refined queries, and in refined vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ibc_pyg.errors import RunError, printable, program, reason
from ibc_pyg.files import file_digest
from ibc_pyg.refinement import Parameters
from ibc_pyg.refinement.learned.files import load_refiner
from ibc_pyg.refinement.learned.refiner import Refiner
from ibc_pyg.retrieval.ann.record import AnnSettings
from ibc_pyg.retrieval.ann.searcher import Searcher
from ibc_pyg.retrieval.nearest import Mask, NearestRows, nearest_rows
from ibc_pyg.retrieval.refined.averages import augmented, expanded
from ibc_pyg.retrieval.refined.diffusion import search_diffusion
from ibc_pyg.retrieval.refined.learned import refined_queries
from ibc_pyg.retrieval.refined.lists import StoredLists, map_lists
from ibc_pyg.retrieval.refined.record import (
    FOLDER,
    LIST_FILE,
    VECTOR_FILE,
    RefinedRecord,
    kinds_of,
    state_digest,
)
from ibc_pyg.retrieval.store.vectors import Vectors, map_vectors

Find = Callable[[Vectors, int, Mask | None], NearestRows]
"""The unrefined search: k rows of each query `[Q, D]` among those allowed."""


@dataclass(frozen=True)
class Opened:
    """The files of a refinement, opened.

    Attributes:
        record: Their record.
        stages: Vectors of each round, `[N, D]`, the last ones `[N, D']`.
        lists: Lists of each round, or of the diffusion.
        refiner: The trained refiner.
    """

    record: RefinedRecord
    stages: list[Vectors]
    lists: list[StoredLists]
    refiner: Refiner | None


class RefinedSearcher:
    """Search of an index with refined queries, alone or in refined vectors.

    Neighbours for the refinement are all pictures of the index, whatever the filter of the search.

    Args:
        folder: The index.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._searcher = Searcher(folder / FOLDER, silent=True)
        self._opened: Opened | None = None

    def expand(
        self, queries: Vectors, vectors: Vectors, live: Mask | None, find: Find, p: Parameters
    ) -> Vectors:
        """Return queries `[Q, D]` averaged with their neighbours, see `ibc_pyg.refinement`."""

        def search(_: int, x: Vectors, number: int) -> NearestRows:
            return find(x, number, live)

        return expanded(queries, vectors, search, p)

    def search(
        self,
        method: str,
        queries: Vectors,
        k: int,
        vectors: Vectors,
        settings: AnnSettings,
        masks: tuple[Mask | None, Mask | None],
        find: Find,
        model: str,
    ) -> NearestRows:
        """Find the most similar rows by what the index stores of a refinement.

        Args:
            method: Its name.
            queries: `[Q, D]`.
            k: Rows per query.
            vectors: All committed vectors of the index, `[N, D]`.
            settings: Kind of search.
            masks: Rows with a picture, and those of them that may be found, bool `[N]` each.
            find: The unrefined search.
            model: Fingerprint of the model of the index.

        Returns:
            Rows and refined cosines, or scores of the diffusion.

        Raises:
            RunError: If there is nothing of the method, it is of another state of the index, or
                damaged.
        """
        live, allowed = masks
        opened = self.open(method, vectors, live, model)
        p, levels = opened.record.parameters, [vectors, *opened.stages[:-1]]

        def search(number: int, x: Vectors, number_of: int) -> NearestRows:
            if number:
                return nearest_rows(levels[number], x, number_of, live)
            return find(x, number_of, live)

        if method == "diffusion":
            near, plain = find(queries, p.k, live), find(queries, k, allowed)
            return search_diffusion(queries, near, plain, vectors, opened.lists[0], allowed, p)
        if opened.refiner is None:
            both = augmented(queries, levels, search, p)  # [Q, D']
        else:
            pairs = list(zip(levels, opened.lists, strict=True))
            both = refined_queries(opened.refiner, queries, pairs, search)  # [Q, D']
        return self._searcher.search(opened.stages[-1], 1, settings, both, k, allowed)

    def open(self, method: str, vectors: Vectors, live: Mask | None, model: str) -> Opened:
        """Return what is stored of a method.

        Raises:
            RunError: See `search`.
        """
        name, record = printable(self._folder), RefinedRecord.read(self._folder)
        make = f"{program()} index refine {name} --method {method}"
        if record is None:
            raise RunError(f"{name} has no refined vectors; make them: {make}")
        if record.method != method:
            raise RunError(f"{name} is refined by {record.method}, not by {method}: {make}")
        if not is_current(record, vectors, live, model):
            raise RunError(
                f"the refined vectors of {name} are stale: its pictures have changed since; make "
                f"them again: {make}"
            )
        if self._opened is None or self._opened.record != record:
            self._opened = self._open(record, vectors.shape[1], make)
        return self._opened

    def _open(self, record: RefinedRecord, dim: int, make: str) -> Opened:
        opened = Opened(record, [], [], None)
        refiner, kinds = None, kinds_of(record.method, record.rounds)
        last = len(kinds) - 1 - kinds[::-1].index(VECTOR_FILE) if VECTOR_FILE in kinds else None
        for number, (path, kind) in enumerate(zip(record.files(self._folder), kinds, strict=True)):
            again = f"make the refined vectors again: {make}"
            try:
                if file_digest(path) != record.sha256[number]:
                    raise RunError(f"{printable(path)} is damaged; {again}")
                if kind == VECTOR_FILE:
                    width = 2 * dim if record.share and number == last else dim
                    opened.stages.append(map_vectors(path, record.rows, width))
                elif kind == LIST_FILE:
                    opened.lists.append(map_lists(path, record.rows))
                else:
                    refiner = load_refiner(path)
            except OSError as error:
                raise RunError(
                    f"{printable(path)} cannot be read: {reason(error)}; {again}"
                ) from error
        if refiner is not None and (refiner.channels, refiner.config.rounds) != (
            dim,
            record.rounds,
        ):
            raise RunError(f"{printable(path)} does not go with its record; {again}")
        return Opened(record, opened.stages, opened.lists, refiner)

    def close(self) -> None:
        """Close the files."""
        self._opened = None
        self._searcher.close()


def is_current(record: RefinedRecord, vectors: Vectors, live: Mask | None, model: str) -> bool:
    """Return whether refined vectors are those of a state of an index."""
    if record.rows != len(vectors):
        return False
    return record.state == state_digest(vectors, live, model)
