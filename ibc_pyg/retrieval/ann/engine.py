"""faiss behind two operations: a search with an effort and a filter, and a checked file.

`pytorch_metric_learning` imports `faiss.contrib.torch_utils`, which replaces `search` by a function
that knows no parameters. Here `search_c` is called, which it leaves alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ibc_pyg.errors import RunError, printable, reason
from ibc_pyg.files import file_digest
from ibc_pyg.retrieval.ann.record import AnnRecord
from ibc_pyg.retrieval.nearest import Mask
from ibc_pyg.retrieval.store.vectors import Vectors

Rows = npt.NDArray[np.int64]

_LEAST_EF, _MOST_EF = 32, 4096
_EF_PER_LIST = 4
_EXACT_LISTS = 128
"""Lists from which, if one of so many is visited, comparing all centroids is as fast as a graph."""
_VISITS = 2**22
"""Most visits to lists of the queries that are searched at a time."""


def import_faiss() -> Any:
    """Return the module faiss.

    Raises:
        RunError: If it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise RunError(
            "approximate search needs faiss, which is not installed: pip install faiss-cpu; or "
            "search exactly: --ann exact"
        ) from error
    return faiss


def check_file(path: Path, record: AnnRecord) -> None:
    """Compare a file with the size and the digest in its record.

    Raises:
        RunError: If it is missing, truncated or changed.
    """
    name = printable(path)
    try:
        size = path.stat().st_size
        if size != record.size:
            raise RunError(f"{name} has {size:,} of {record.size:,} bytes")
        if file_digest(path) != record.sha256:
            raise RunError(f"{name} differs from its checksum")
    except OSError as error:
        raise RunError(f"{name} cannot be read: {reason(error)}") from error


class Engine:
    """An opened index of faiss, whose ids are rows.

    Args:
        index: Inverted lists or a graph.

    Attributes:
        is_graph: Whether it is a graph.
        rows: Number of vectors.
        least: Least effort of a search.
        most: Greatest effort: all lists, or as many candidates as are reasonable.
    """

    def __init__(self, index: Any) -> None:
        self.index = index
        self.is_graph = hasattr(index, "hnsw")
        self.rows = int(index.ntotal)
        self.least = min(_LEAST_EF, self.rows) if self.is_graph else 1
        self.most = min(_MOST_EF, self.rows) if self.is_graph else int(index.nlist)
        self._centroids = None if self.is_graph else _behind_graph(index)

    @classmethod
    def open(cls, path: Path, record: AnnRecord) -> Engine:
        """Open a file that is what its record says, mapped into memory.

        Raises:
            RunError: If it is missing, truncated or changed, or faiss is not installed.
        """
        faiss = import_faiss()
        name = printable(path)
        # faiss trusts the sizes in a file; only bytes that were written here are given to it.
        check_file(path, record)
        try:
            index = faiss.read_index(str(path), _flags(faiss, record))
        except (OSError, RuntimeError) as error:
            raise RunError(f"{name} cannot be read: {reason(error)}") from error
        shape = (int(index.ntotal), int(index.d), int(index.metric_type))
        if shape != (record.rows, record.dim, faiss.METRIC_INNER_PRODUCT):
            raise RunError(f"{name} does not fit its record")
        if record.kind == "ivf":
            lists = faiss.downcast_InvertedLists(index.invlists)
            # The default starts 32 threads for every search.
            lists.prefetch_nthread = 0
        return cls(index)

    def search(self, queries: Vectors, number: int, effort: int, allowed: Mask | None) -> Rows:
        """Return about the most similar rows of each query.

        Args:
            queries: Unit vectors, `[Q, D]`.
            number: Rows per query.
            effort: Lists to visit, or candidates to keep, from `least` to `most`.
            allowed: Which rows may be found, bool `[rows]`; None allows all.

        Returns:
            int64 `[Q, number]`, -1 behind the last one found.
        """
        faiss = import_faiss()
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        selector = None if bits is None else faiss.IDSelectorBitmap(bits)
        effort = min(self.most, max(effort, number) if self.is_graph else effort)
        x = np.ascontiguousarray(queries, np.float32)
        scores = np.empty((len(x), number), np.float32)
        rows = np.full((len(x), number), -1, np.int64)
        step = len(x) if self.is_graph else max(1, _VISITS // effort)
        for start in range(0, len(x), step or 1):
            part = slice(start, start + step)
            self._search(faiss, x[part], scores[part], rows[part], effort, selector)
        rows[rows >= self.rows] = -1
        return rows

    def _search(
        self, faiss: Any, x: Vectors, scores: Vectors, rows: Rows, effort: int, selector: Any
    ) -> None:
        """Fill the scores and rows of queries, all contiguous."""
        of, size, number = faiss.swig_ptr, *rows.shape
        if self.is_graph:
            parameters = faiss.SearchParametersHNSW(efSearch=effort, sel=selector)
        else:
            parameters = faiss.SearchParametersIVF(nprobe=effort, sel=selector)
        if self._centroids is not None:
            if effort * _EXACT_LISTS >= self.most:
                near = np.empty((size, effort), np.float32)
                lists = np.empty((size, effort), np.int64)
                self._centroids.search_c(size, of(x), effort, of(near), of(lists))
                visited = of(lists), of(near)
                self.index.search_preassigned_c(
                    size, of(x), number, *visited, of(scores), of(rows), False, parameters
                )
                return
            # The graph returns fewer lists than wanted if it keeps no more candidates.
            kept = faiss.SearchParametersHNSW(efSearch=max(_LEAST_EF, _EF_PER_LIST * effort))
            parameters.quantizer_params = kept
        self.index.search_c(size, of(x), number, of(scores), of(rows), parameters)

    def find(
        self, queries: Vectors, number: int, least: int, effort: int, allowed: Mask | None
    ) -> Rows:
        """Search with growing effort until each query has enough rows.

        Args:
            queries: Unit vectors, `[Q, D]`.
            number: Rows per query.
            least: Rows that a query must have.
            effort: Effort to begin with.
            allowed: Which rows may be found.

        Returns:
            As `search`; a graph may still give too few.
        """
        rows = self.search(queries, number, effort, allowed)
        while effort < self.most:
            short = np.flatnonzero((rows >= 0).sum(1) < least)
            if not len(short):
                break
            effort = min(self.most, 4 * effort)
            rows[short] = self.search(queries[short], number, effort, allowed)
        return rows


def _behind_graph(index: Any) -> Any:
    """Return the centroids of inverted lists, which a graph finds; None if there is no graph."""
    faiss = import_faiss()
    quantizer = faiss.downcast_index(index.quantizer)
    return faiss.downcast_index(quantizer.storage) if hasattr(quantizer, "hnsw") else None


def _flags(faiss: Any, record: AnnRecord) -> int:
    if record.kind == "ivf":
        return int(faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    return int(faiss.IO_FLAG_MMAP_IFC)
