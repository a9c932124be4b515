"""Reading of an index: search, look-ups, examination, export."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from ibc_pyg.errors import ConfigError, RunError, did_you_mean, printable
from ibc_pyg.inference.embedder import Embedder, ModelSource
from ibc_pyg.refinement import Parameters, parameters_of
from ibc_pyg.retrieval.ann.record import AnnRecord, AnnSettings
from ibc_pyg.retrieval.ann.searcher import Searcher
from ibc_pyg.retrieval.calibration.stored import Calibration
from ibc_pyg.retrieval.export import check_format, export
from ibc_pyg.retrieval.fingerprint import Fingerprint
from ibc_pyg.retrieval.hits import Hit
from ibc_pyg.retrieval.lookup import Where, allowed_rows, hits_of, wanted_labels
from ibc_pyg.retrieval.models import Model, check_same_model, reopen_model
from ibc_pyg.retrieval.nearest import Mask, NearestRows
from ibc_pyg.retrieval.queries import Queries, read_queries
from ibc_pyg.retrieval.refined.record import RefinedRecord, check_method
from ibc_pyg.retrieval.refined.search import RefinedSearcher, is_current
from ibc_pyg.retrieval.store.catalogue import (
    Cursor,
    Skipped,
    State,
    count,
    label_in_use,
    labels_in_use,
    names_of_row,
    read_meta,
    read_state,
    skipped_files,
    unused_rows,
)
from ibc_pyg.retrieval.store.checks import problems
from ibc_pyg.retrieval.store.connection import Connection
from ibc_pyg.retrieval.store.entries import Entry, entries
from ibc_pyg.retrieval.store.roots import Source, is_url, places, roots
from ibc_pyg.retrieval.store.vectors import Vectors, map_vectors, vector_file
from ibc_pyg.retrieval.store.writer import CATALOGUE

PathLike = str | os.PathLike[str]


def is_index(folder: PathLike) -> bool:
    """Tell whether a folder holds an index."""
    return (Path(folder) / CATALOGUE).is_file()


class IndexReader:
    """Pictures by their vectors, in a folder, as `Index` has them.

    Attributes:
        path: The folder.
        fingerprint: The model that made the vectors.
    """

    def __init__(
        self,
        path: PathLike,
        model: Model | None = None,
        *,
        weights: PathLike | None = None,
        trust_code: bool = False,
    ) -> None:
        self.path = Path(path)
        self._given, self._weights, self._trust_code = model, weights, trust_code
        self._embedder: Embedder | None = None
        self._mapped: tuple[State, Vectors] | None = None
        self._searcher = Searcher(self.path)
        self._refined = RefinedSearcher(self.path)
        self._catalogue = Connection(self.path / CATALOGUE)
        with self._catalogue.reading() as sql:
            self._model_text = str(read_meta(sql, "model"))
            self.fingerprint = Fingerprint.from_json(self._model_text)

    def search(
        self,
        query: Any,
        k: int = 10,
        where: Where | None = None,
        min_similarity: float | None = None,
        refine: str | None = None,
        parameters: Parameters | None = None,
    ) -> Any:
        """Find the pictures most similar to a query, most similar first.

        Args:
            query: A picture (file, bytes, Pillow image, array of uint8 or uint16), a list of
                pictures, or vectors: floats `[D]` or `[Q, D]`.
            k: Number of pictures, >= 1; all there are if there are fewer.
            where: Filter: `{"label": "apple"}`, or several classes in a list.
            min_similarity: Leave out less similar pictures.
            refine: `aqe` refines the queries alone; `dba`, `diffusion` and `refiner` search what
                `refine` of `Index` stored. The similarities are refined ones, without `strangers`.
            parameters: Parameters of `aqe`; None takes the defaults.

        Returns:
            A list of `Hit`; for several queries a list of such lists. Equally similar pictures are
            in the order of their rows. In a large index (see `ann`) a picture may be missing, as
            often as its recall says; order and similarities of the others are exact.

        Raises:
            ValueError: If an argument is out of range or not finite.
            RunError: If a picture cannot be read, the model is missing or another one, the index
                is damaged, or its refined vectors are missing or stale.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k must be an integer >= 1, not {k!r}")
        if min_similarity is not None and not -1 <= min_similarity <= 1:
            raise ValueError(f"min_similarity must be in [-1, 1], not {min_similarity!r}")
        if refine is not None:
            check_method(refine)
        queries = read_queries(query, self.dim, self.model)
        lists = self.search_queries(queries, k, where, min_similarity, refine, parameters)
        return lists[0] if queries.single else lists

    def search_queries(
        self,
        queries: Queries,
        k: int = 10,
        where: Where | None = None,
        min_similarity: float | None = None,
        refine: str | None = None,
        parameters: Parameters | None = None,
    ) -> list[list[Hit]]:
        """Find the pictures most similar to each query; see `search`."""
        labels = wanted_labels(where)
        with self._snapshot() as (sql, vectors):
            allowed = allowed_rows(sql, len(vectors), labels)
            found = self._find(sql, vectors, queries.vectors, k, allowed, refine, parameters)
            lists = hits_of(sql, found, queries.digests, labels, min_similarity)
            calibration = Calibration.of(sql, self.fingerprint.digest)
        if calibration is not None and refine is None:
            rates = calibration.rates
            lists = [
                [replace(h, strangers=rates.strangers(h.similarity)) for h in hits]
                for hits in lists
            ]
        return lists

    def file_of(self, row: int) -> Path | None:
        """Return a file of a row; None if there is none on this machine, or they were removed."""
        with self._catalogue.reading() as sql:
            names = names_of_row(sql, row)
            place = places(sql)(names[0].root, names[0].path) if names else None
            return None if place is None or is_url(place) else Path(place)

    def labels(self) -> list[str]:
        """Return the classes of the pictures that can be found, sorted."""
        with self._catalogue.reading() as sql:
            return labels_in_use(sql)

    def check_labels(self, labels: Iterable[str]) -> None:
        """Check that there are pictures of classes.

        Raises:
            ConfigError: Naming the first class that no picture has.
        """
        with self._catalogue.reading() as sql:
            for label in labels:
                if not label_in_use(sql, label):
                    known = labels_in_use(sql)
                    some = f"there are {', '.join(known[:10]) or 'none'}"
                    advice = did_you_mean(label, known, some)
                    raise ConfigError(f"no picture has the class {label!r}; {advice}")

    def nearest(self, vectors: Vectors, k: int) -> NearestRows:
        """Find the rows most similar to vectors; as `search`, without names.

        Args:
            vectors: Float32 `[Q, D]`, finite.
            k: Rows per query, >= 1; all there are if there are fewer.
        """
        with self._snapshot() as (sql, stored):
            allowed = allowed_rows(sql, len(stored), None)
            return self._find(sql, stored, vectors, k, allowed)

    def verify(self) -> list[str]:
        """Examine vectors, catalogue and approximate search; return what is wrong, if anything.

        Raises:
            RunError: If the index is too damaged to be examined.
        """
        with self._snapshot() as (sql, vectors):
            ann = self._searcher.problems(vectors, read_state(sql).generation)
            return [*problems(sql, vectors), *ann]

    def export(self, path: PathLike) -> int:
        """Write all vectors and names to a `.parquet` file, or a `.npy` and a `.csv` file.

        Returns:
            The number of files of the index.

        Raises:
            RunError: If the suffix is another one, pyarrow is missing, or the disk is full.
        """
        check_format(Path(path))
        with self._snapshot() as (sql, vectors):
            unused = set(unused_rows(sql))
            rows = [row for row in range(len(vectors)) if row not in unused]
            export(Path(path), entries(sql), vectors, rows)
            return count(sql, "names")

    @contextmanager
    def reading(self) -> Iterator[tuple[Iterator[Entry], Vectors]]:
        """Yield all files, ascending by row, and the vectors, `[N, D]`, of one state."""
        with self._snapshot() as (sql, vectors):
            yield entries(sql), vectors

    def __len__(self) -> int:
        """Return the number of pictures that can be found; equal files are one picture."""
        with self._catalogue.reading() as sql:
            return count(sql, "pictures")

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        return self.fingerprint.dim

    @property
    def vectors(self) -> Vectors:
        """All vectors, read-only float32 `[N, D]` in a memory map; removed ones included."""
        with self._snapshot() as (_, vectors):
            view = vectors.view()
        view.flags.writeable = False
        return view

    @property
    def catalogue(self) -> list[Entry]:
        """All files, ascending by row."""
        return list(self.files())

    def files(self) -> Iterator[Entry]:
        """Yield all files, ascending by row, without a list of them."""
        with self._catalogue.reading() as sql:
            yield from entries(sql)

    @property
    def sources(self) -> list[Source]:
        """Folders, lists and data sets that the pictures come from."""
        with self._catalogue.reading() as sql:
            return [source for _, source in roots(sql)]

    @property
    def skipped(self) -> list[Skipped]:
        """Files that could not be read or decoded, with the reasons."""
        with self._catalogue.reading() as sql:
            return list(skipped_files(sql))

    @property
    def ann(self) -> AnnRecord | None:
        """The approximate search that is used; None if the search is exact."""
        with self._snapshot() as (sql, vectors):
            settings, state = AnnSettings.of(sql), read_state(sql)
            found = self._searcher.current(vectors, state.generation, settings)
        return None if found is None else found.record

    @property
    def refined(self) -> tuple[RefinedRecord, bool] | None:
        """The stored refined vectors and whether they are current; None without them.

        Raises:
            RunError: If their record is damaged.
        """
        record = RefinedRecord.read(self.path)
        if record is None:
            return None
        with self._snapshot() as (sql, vectors):
            live = allowed_rows(sql, len(vectors), None)
            return record, is_current(record, vectors, live, self.fingerprint.digest)

    @property
    def calibration(self) -> Calibration | None:
        """Thresholds of similarity, made by `Index.calibrate`; None without them."""
        with self._catalogue.reading() as sql:
            return Calibration.of(sql, self.fingerprint.digest)

    def counts(self) -> dict[str, int]:
        """Return the numbers of pictures, names, removed and skipped files, and of vectors."""
        with self._catalogue.reading() as sql:
            kinds = {kind: count(sql, kind) for kind in ("pictures", "names", "removed", "skipped")}
            return kinds | {"vectors": read_state(sql).rows}

    @property
    def complete(self) -> bool:
        """Whether the last build or sync came to its end."""
        with self._catalogue.reading() as sql:
            return read_state(sql).complete

    def model(self) -> Embedder:
        """Return the model of the index, opened on first use.

        Raises:
            RunError: If it is missing, or another one than that which made the vectors.
        """
        if self._embedder is None:
            embedder = self._open_model()
            check_same_model(self.path, self.fingerprint, Fingerprint.of(embedder))
            self._embedder = embedder
        return self._embedder

    @property
    def model_source(self) -> ModelSource | None:
        """Where the model of the index can be opened; None if that is not known."""
        with self._catalogue.reading() as sql:
            text = read_meta(sql, "source")
        try:
            return ModelSource.of(json.loads(str(text)))
        except (ValueError, TypeError) as error:
            raise RunError(f"{printable(self.path)} is damaged: its model is not named") from error

    def close(self) -> None:
        """Close the files."""
        self._catalogue.close()
        self._searcher.close()
        self._refined.close()
        self._mapped = None

    def __enter__(self) -> Self:
        """Return the index."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the files."""
        self.close()

    def __repr__(self) -> str:
        """Return path, number of pictures and model."""
        return f"Index({printable(self.path)}, {len(self):,} pictures, {self.fingerprint})"

    def _open_model(self) -> Embedder:
        source = self.model_source if self._given is None else None
        weights, trust_code = self._weights, self._trust_code
        return reopen_model(self._given, source, self.path, weights=weights, trust_code=trust_code)

    def _find(
        self,
        sql: Cursor,
        vectors: Vectors,
        queries: Vectors,
        k: int,
        allowed: Mask | None,
        refine: str | None = None,
        parameters: Parameters | None = None,
    ) -> NearestRows:
        """Search one state of the index, with refined vectors if `refine` names a method."""
        generation, settings = read_state(sql).generation, AnnSettings.of(sql)

        def plain(x: Vectors, number: int, mask: Mask | None) -> NearestRows:
            return self._searcher.search(vectors, generation, settings, x, number, mask)

        if refine is None or not len(vectors):
            return plain(queries, k, allowed)
        live = allowed_rows(sql, len(vectors), None)
        if refine == "aqe":
            p = parameters_of(refine) if parameters is None else parameters
            return plain(self._refined.expand(queries, vectors, live, plain, p), k, allowed)
        if parameters is not None:
            raise ConfigError(f"the parameters of {refine} are those that `index refine` stored")
        digest = self.fingerprint.digest
        return self._refined.search(
            refine, queries, k, vectors, settings, (live, allowed), plain, digest
        )

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[Cursor, Vectors]]:
        """Yield a cursor and the vectors, `[N, D]`, of one state of the index."""
        for last in (False, False, True):
            with self._catalogue.reading() as sql:
                state = read_state(sql)
                if read_meta(sql, "model") != self._model_text:
                    raise RunError(
                        f"{printable(self.path)} was embedded again by another model; open it again"
                    )
                try:
                    vectors = self._map(state)
                except FileNotFoundError as error:
                    # A compaction may have come between the catalogue and the file.
                    if last:
                        raise RunError(
                            f"{printable(str(error.filename))} is missing; restore it, or build "
                            "the index again"
                        ) from error
                    continue
                yield sql, vectors
                return

    def _map(self, state: State) -> Vectors:
        if self._mapped is None or self._mapped[0] != state:
            path = vector_file(self.path, state.generation)
            self._mapped = (state, map_vectors(path, state.rows, self.dim))
        return self._mapped[1]
