"""Examination of an index for damage."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from ibc_pyg.retrieval.store.catalogue import Cursor
from ibc_pyg.retrieval.store.vectors import Vectors

_CHUNK = 4096
_UNIT = 1e-3
"""Largest difference of a norm from 1; half precision has 1e-3."""


def problems(sql: Cursor, vectors: Vectors) -> Iterator[str]:
    """Yield what is wrong with an index, one phrase each.

    Args:
        sql: Cursor of its catalogue.
        vectors: Its committed vectors, `[N, D]`.

    Raises:
        sqlite3.Error: If the catalogue is too damaged to be read.
    """
    for (line,) in sql.execute("PRAGMA integrity_check(10)").fetchall():
        if line != "ok":
            yield f"catalogue: {line}"
    rows = [row for (row,) in sql.execute("SELECT row FROM contents ORDER BY row")]
    if rows != list(range(len(vectors))):
        yield f"catalogue: {len(rows):,} contents do not match {len(vectors):,} vectors"
        return
    for text, query in _COUNTS.items():
        (wrong,) = sql.execute(query).fetchone()
        if wrong:
            yield f"catalogue: {wrong:,} {text}"
    yield from _vector_problems(sql, vectors)


_COUNTS = {
    "contents have a wrong number of names": "SELECT count(*) FROM contents WHERE uses != "
    "(SELECT count(*) FROM names WHERE names.row = contents.row AND removed = 0)",
    "contents have no valid hash": "SELECT count(*) FROM contents "
    "WHERE typeof(sha256) != 'blob' OR length(sha256) != 32",
    "names have no vector": "SELECT count(*) FROM names WHERE removed = 0 AND "
    "(row IS NULL OR row NOT IN (SELECT row FROM contents))",
    "names have no root": "SELECT count(*) FROM names WHERE root NOT IN (SELECT id FROM roots)",
    "names are not text": "SELECT count(*) FROM names WHERE typeof(path) NOT IN ('text', 'blob') "
    "OR typeof(label) NOT IN ('text', 'null')",
    "files are both named and skipped": "SELECT count(*) FROM names JOIN skipped "
    "USING (root, path)",
}


def _vector_problems(sql: Cursor, vectors: Vectors) -> Iterator[str]:
    sums = [crc for (crc,) in sql.execute("SELECT crc32 FROM contents ORDER BY row")]
    for start in range(0, len(vectors), _CHUNK):
        part = np.ascontiguousarray(vectors[start : start + _CHUNK])  # [n, D]
        with np.errstate(all="ignore"):
            norms = np.linalg.norm(part, axis=1)  # [n]
            valid = (norms == 0) | (np.abs(norms - 1) < _UNIT)  # false for NaN
        for row, vector in enumerate(part, start):
            if zlib.crc32(vector) != sums[row]:
                yield f"vector {row} differs from its checksum"
            elif not valid[row - start]:
                yield f"vector {row} has norm {norms[row - start]:.3g}, not 1"
