"""Writing to an index: vectors first, then the transaction that commits them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import numpy as np

from ibc_pyg.errors import RunError, printable
from ibc_pyg.retrieval.store.ann_files import ann_prefix, remove_ann
from ibc_pyg.retrieval.store.catalogue import (
    Cursor,
    State,
    add_contents,
    read_state,
    write_meta,
)
from ibc_pyg.retrieval.store.connection import Connection
from ibc_pyg.retrieval.store.vectors import Vectors, VectorWriter, map_vectors, vector_file
from ibc_pyg.runs.run_folder import HOLDER
from ibc_pyg.runs.run_lock import FolderLock

CATALOGUE = "catalogue.sqlite"


class StoreWriter:
    """The only process that changes an index, while it has its lock; see `store_writer`.

    Attributes:
        folder: The index.
        dim: Length D of a vector.
        catalogue: Connection to the catalogue.
        state: State as committed.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim
        self.catalogue = Connection(folder / CATALOGUE, write=True)
        try:
            with self.catalogue.reading() as sql:
                self.state = read_state(sql)
            self._sweep()
            self._vectors = self._open(self.state)
        except BaseException:
            self.catalogue.close()
            raise

    def _open(self, state: State) -> VectorWriter:
        return VectorWriter(vector_file(self.folder, state.generation), state.rows, self.dim)

    def close(self) -> None:
        """Close all files."""
        self.catalogue.close(tidy=True)
        with self._vectors:
            pass

    @contextmanager
    def commit(
        self, digests: Sequence[bytes] = (), vectors: Vectors | None = None
    ) -> Iterator[Cursor]:
        """Add contents, and yield a cursor for further changes of the same transaction.

        Args:
            digests: SHA-256 of each new content, `N` of them; they get the next rows.
            vectors: Their vectors, `[N, D]`.

        Raises:
            RunError: If the disk is full or the catalogue damaged; the index is as before.
        """
        sums: list[int] = []
        rows = range(self.state.rows, self.state.rows + len(digests))
        with self.catalogue.writing() as sql:
            if read_state(sql) != self.state:
                raise RunError(
                    f"{printable(self.folder)} was changed by another process; try again"
                )
            if vectors is not None and len(vectors):
                vectors = np.ascontiguousarray(vectors, np.dtype("<f4"))
                self._vectors.append(vectors)
                sums = [zlib.crc32(vector) for vector in vectors]
            add_contents(sql, zip(rows, digests, sums, strict=True))
            write_meta(sql, rows=rows.stop)
            yield sql
        self._reload()

    def rewrite(
        self,
        changes: Iterable[tuple[int, int]],
        vectors: Iterable[Vectors],
        *,
        dim: int | None = None,
        sums: Sequence[int] | None = None,
        **meta: str | int,
    ) -> None:
        """Replace the vector file by one with other rows, and renumber the contents.

        Args:
            changes: Old and new row of each content that stays, ascending; the new rows are
                `0 ... n - 1`. Contents that are left out are forgotten, with their names. They
                are read after all vectors.
            vectors: Parts of the new file, `[n, D]` together.
            dim: New length D of a vector; None keeps it.
            sums: CRC-32 of each new vector, read after all vectors; None if they are the old ones.
            **meta: New values of the table `meta`.

        Raises:
            RunError: If the disk is full; the index is as before.
        """
        generation = self.state.generation + 1
        dim = self.dim if dim is None else dim
        draft = VectorWriter(vector_file(self.folder, generation), 0, dim)
        try:
            for part in vectors:
                draft.append(part)
            pairs = list(changes)
            with self.catalogue.writing() as sql:
                sql.execute("CREATE TEMP TABLE kept(old INTEGER PRIMARY KEY, new INTEGER NOT NULL)")
                sql.executemany("INSERT INTO kept VALUES (?, ?)", pairs)
                sql.execute("DELETE FROM contents WHERE row NOT IN (SELECT old FROM kept)")
                sql.execute(
                    "DELETE FROM names WHERE removed = 0 AND row NOT IN (SELECT row FROM contents)"
                )
                sql.execute(
                    "UPDATE names SET row = NULL WHERE row NOT IN (SELECT row FROM contents)"
                )
                moved = [(new, old) for old, new in pairs if new != old]
                # Ascending: a new row is never taken by a content that is still to move.
                sql.executemany("UPDATE contents SET row = ? WHERE row = ?", moved)
                sql.executemany("UPDATE names SET row = ? WHERE row = ?", moved)
                sql.execute("DROP TABLE kept")
                if sums is not None:
                    new_sums = ((crc, row) for row, crc in enumerate(sums))
                    sql.executemany("UPDATE contents SET crc32 = ? WHERE row = ?", new_sums)
                write_meta(sql, rows=len(pairs), generation=generation, **meta)
        except BaseException:
            with draft:
                pass
            # The transaction may have been committed: the catalogue says which file is of no use.
            with suppress(RunError):
                self._reload()
                self._sweep()
            raise
        with self._vectors:
            self._vectors, self.dim = draft, dim
        self._reload()
        self._sweep()
        self.catalogue.vacuum()

    def map(self) -> Vectors:
        """Return the committed vectors, `[N, D]`."""
        path = vector_file(self.folder, self.state.generation)
        return map_vectors(path, self.state.rows, self.dim)

    def _reload(self) -> None:
        with self.catalogue.reading() as sql:
            self.state = read_state(sql)

    def _sweep(self) -> None:
        """Remove files of other generations, and drafts that a kill left."""
        current = vector_file(self.folder, self.state.generation)
        names = ("vectors-*.f32", f".{CATALOGUE}.*", f".{HOLDER}.*")
        for left in chain.from_iterable(map(self.folder.glob, names)):
            if left != current:
                # Windows keeps a file that a reader has mapped; the next writer removes it.
                with suppress(OSError):
                    left.unlink()
        remove_ann(self.folder, keep=ann_prefix(self.state.generation))


@contextmanager
def store_writer(folder: Path, dim: int) -> Iterator[StoreWriter]:
    """Yield the writer of an index, which has its lock until the block ends.

    Raises:
        InUseError: If another process writes; it is named.
        RunError: If the index is damaged or cannot be written.
    """
    lock = FolderLock(folder)
    lock.acquire()
    try:
        writer = StoreWriter(folder, dim)
        try:
            yield writer
        finally:
            writer.close()
    finally:
        lock.release()
