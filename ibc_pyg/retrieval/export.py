"""Files of vectors and names for other programs: Parquet, or NumPy with a CSV of names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ibc_pyg.errors import RunError, printable
from ibc_pyg.files import atomic_writer
from ibc_pyg.inference.embeddings import npy_header
from ibc_pyg.retrieval.store.entries import Entry
from ibc_pyg.retrieval.store.vectors import Vectors

COLUMNS = ("id", "path", "label", "sha256")

_CHUNK = 4096


def check_format(path: Path) -> None:
    """Check that a file can be exported to, before any work.

    Raises:
        RunError: If its suffix is unknown, or pyarrow is missing.
    """
    if path.suffix == ".parquet":
        _pyarrow()
    elif path.suffix != ".npy":
        raise RunError(f"{printable(path)}: give a file that ends with .parquet or .npy")


def names_file(path: Path) -> Path | None:
    """Return the file that is written beside `path`; None for Parquet, which has all in one."""
    return path.with_suffix(".csv") if path.suffix == ".npy" else None


def export(path: Path, files: Iterator[Entry], vectors: Vectors, rows: list[int]) -> None:
    """Write vectors and names.

    `.parquet` has a row for each file: `id` (row of the index), `path`, `label`, `sha256`, and
    `vector`, a list of D floats. `.npy` has the vectors `[n, D]` alone; the CSV beside it has the
    same columns, and there `id` is the row of the array.

    Args:
        path: The file.
        files: Files of the index, ascending by row; bytes of their names that are not UTF-8 are
            escaped.
        vectors: `[N, D]`.
        rows: Rows that have a file, ascending.

    Raises:
        RunError: As `check_format`, or if a file cannot be written.
    """
    check_format(path)
    if path.suffix == ".parquet":
        _write_parquet(path, files, vectors)
        return
    place = {row: number for number, row in enumerate(rows)}
    with atomic_writer(path.with_suffix(".csv")) as names:
        text = io.TextIOWrapper(names, "utf-8", newline="", write_through=True)
        table = csv.writer(text)
        table.writerow(COLUMNS)
        for each in files:
            table.writerow([place[each.row], printable(each.path), each.label, each.sha256])
        text.detach()
    with atomic_writer(path) as array:
        array.write(npy_header(len(rows), vectors.shape[1]))
        for start in range(0, len(rows), _CHUNK):
            array.write(vectors[rows[start : start + _CHUNK]].tobytes())


def _write_parquet(path: Path, files: Iterator[Entry], vectors: Vectors) -> None:
    pa, parquet = _pyarrow()
    dim = vectors.shape[1]
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("path", pa.string()),
            ("label", pa.string()),
            ("sha256", pa.string()),
            ("vector", pa.list_(pa.float32(), dim)),
        ]
    )
    with atomic_writer(path) as file, parquet.ParquetWriter(file, schema) as writer:
        while part := list(islice(files, _CHUNK)):
            flat = np.ascontiguousarray(vectors[[each.row for each in part]]).ravel()  # [n * D]
            columns = [
                pa.array([each.row for each in part], pa.int64()),
                pa.array([printable(each.path) for each in part], pa.string()),
                pa.array([each.label for each in part], pa.string()),
                pa.array([each.sha256 for each in part], pa.string()),
                pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dim),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise RunError(
            "Parquet needs pyarrow, which is not installed (pip install pyarrow); or export to .npy"
        ) from error
    return pyarrow, parquet
