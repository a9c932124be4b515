"""Search with refined queries, and in refined vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch.nn.functional as F

from ibc_pyg.errors import ConfigError, RunError, printable, reason
from ibc_pyg.files import file_digest
from ibc_pyg.refinement import Parameters
from ibc_pyg.refinement.method import mixed
from ibc_pyg.retrieval.ann.record import AnnSettings
from ibc_pyg.retrieval.ann.searcher import Searcher
from ibc_pyg.retrieval.nearest import Mask, NearestRows, nearest_rows, unit
from ibc_pyg.retrieval.refined.build import averaged
from ibc_pyg.retrieval.refined.record import (
    AT_SEARCH,
    FOLDER,
    RefinedRecord,
    state_digest,
)
from ibc_pyg.retrieval.store.vectors import Vectors, map_vectors

Find = Callable[[Vectors, int, Mask | None], NearestRows]
"""The unrefined search: k rows of each query `[Q, D]` among those allowed."""


class RefinedSearcher:
    """Search of an index by `aqe` or `dba`.

    Neighbours for the refinement are all pictures of the index, whatever the filter of the search.

    Args:
        folder: The index.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._searcher = Searcher(folder / FOLDER, silent=True)
        self._opened: tuple[RefinedRecord, list[Vectors]] | None = None

    def expand(
        self, queries: Vectors, vectors: Vectors, live: Mask | None, find: Find, p: Parameters
    ) -> Vectors:
        """Return queries `[Q, D]` averaged with their neighbours, see `ibc_pyg.refinement`."""
        x = refined = unit(queries)  # [Q, D]
        for _ in range(p.rounds):
            if p.k:
                near = find(refined.numpy(), p.k, live)
                refined = averaged(vectors, refined, near, p.power)  # [Q, D]
        return F.normalize(p.share * x + (1 - p.share) * refined, dim=1).numpy()

    def search(
        self,
        queries: Vectors,
        k: int,
        vectors: Vectors,
        settings: AnnSettings,
        masks: tuple[Mask | None, Mask | None],
        find: Find,
        model: str,
    ) -> NearestRows:
        """Find the most similar rows in the stored refined vectors.

        Args:
            queries: `[Q, D]`.
            k: Rows per query.
            vectors: All committed vectors of the index, `[N, D]`.
            settings: Kind of search.
            masks: Rows with a picture, and those of them that may be found, bool `[N]` each.
            find: The unrefined search.
            model: Fingerprint of the model of the index.

        Returns:
            Rows and refined cosines.

        Raises:
            RunError: If there are none, they are of another state of the index, or damaged.
        """
        live, allowed = masks
        record, stages = self.open(vectors, live, model)
        p = record.parameters
        x = refined = unit(queries)  # [Q, D]
        for number, stage in enumerate([vectors, *stages[:-1]]):
            if p.k:
                wanted = refined.numpy()
                near = nearest_rows(stage, wanted, p.k, live) if number else find(wanted, p.k, live)
                refined = averaged(stage, refined, near, p.power)  # [Q, D]
        both = mixed(x, refined, p.share).numpy()  # [Q, D']
        return self._searcher.search(stages[-1], 1, settings, both, k, allowed)

    def open(
        self, vectors: Vectors, live: Mask | None, model: str
    ) -> tuple[RefinedRecord, list[Vectors]]:
        """Return the record and the vectors of each round, the last ones `[N, D']`.

        Raises:
            RunError: See `search`.
        """
        name, record = printable(self._folder), RefinedRecord.read(self._folder)
        if record is None:
            raise RunError(f"{name} has no refined vectors; make them: index refine {name}")
        if not is_current(record, vectors, live, model):
            raise RunError(
                f"the refined vectors of {name} are stale: its pictures have changed since; make "
                f"them again: index refine {name}"
            )
        if self._opened is not None and self._opened[0] == record:
            return self._opened
        dim, stages = vectors.shape[1], []
        for number, digest in enumerate(record.sha256):
            path = record.file(self._folder, number)
            width = 2 * dim if record.share and number == record.rounds - 1 else dim
            try:
                if file_digest(path) != digest:
                    raise RunError(
                        f"{printable(path)} is damaged; make the refined vectors again: index "
                        f"refine {name}"
                    )
                stages.append(map_vectors(path, record.rows, width))
            except OSError as error:
                raise RunError(
                    f"{printable(path)} cannot be read: {reason(error)}; make the refined vectors "
                    f"again: index refine {name}"
                ) from error
        self._opened = record, stages
        return self._opened

    def close(self) -> None:
        """Close the files."""
        self._opened = None
        self._searcher.close()


def is_current(record: RefinedRecord, vectors: Vectors, live: Mask | None, model: str) -> bool:
    """Return whether refined vectors are those of a state of an index."""
    if record.rows != len(vectors):
        return False
    return record.state == state_digest(vectors, live, model)


def check_method(method: str) -> None:
    """Check the name of a method of a search.

    Raises:
        ConfigError: If it is none.
    """
    if method not in AT_SEARCH:
        raise ConfigError(
            f"an index is searched with {' or '.join(AT_SEARCH)}, not {method!r}: other methods "
            "pool all queries, or are scored by `evaluate`"
        )
