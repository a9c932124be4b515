"""Sparse matrices of the neighbour graph, made and multiplied in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse
from torch import Tensor

_BLOCK = 2**24
"""Entries of a product before its rows are cut."""


def neighbour_matrix(indices: Tensor, weights: Tensor, columns: int) -> sparse.csr_array:
    """Return weights of neighbours, int64 and float `[N, k]`, as a sparse `[N, columns]`."""
    rows, k = indices.shape
    ends = np.arange(0, rows * k + 1, k) if k else np.zeros(rows + 1, np.int64)
    values = weights.numpy().astype(np.float32).ravel()
    matrix = sparse.csr_array((values, indices.numpy().ravel(), ends), shape=(rows, columns))
    matrix.sum_duplicates()
    return matrix


def blocks(rows: int, entries: int) -> Iterator[slice]:
    """Yield slices of rows that have about `entries` entries each."""
    step = max(1, _BLOCK // max(1, entries))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def product(left: sparse.csr_array, right: sparse.csr_array, most: int) -> sparse.csr_array:
    """Multiply two sparse matrices and keep the `most` largest entries of each row."""
    mean = -(-right.nnz // max(1, right.shape[0])) * -(-left.nnz // max(1, left.shape[0]))
    parts = [largest(left[rows] @ right, most) for rows in blocks(left.shape[0], mean)]
    return sparse.csr_array(sparse.vstack(parts, format="csr"))


def largest(matrix: sparse.csr_array, most: int) -> sparse.csr_array:
    """Keep the `most` largest entries of each row, of equal ones those of lower columns."""
    matrix = sparse.csr_array(matrix)
    counts = np.diff(matrix.indptr)
    long = np.flatnonzero(counts > most)
    if not len(long):
        return matrix
    kept = np.ones(len(matrix.data), np.bool_)
    # Partitions of single rows take a tenth of the time of sorting all entries.
    for start, end in zip(matrix.indptr[long], matrix.indptr[long + 1], strict=True):
        values = matrix.data[start:end]
        least = np.partition(values, -most)[-most]
        above = values > least
        equal = np.flatnonzero(values == least)
        columns = matrix.indices[start:end][equal]
        above[equal[np.argsort(columns)[: most - np.count_nonzero(above)]]] = True
        kept[start:end] = above
    ends = np.concatenate([[0], np.cumsum(np.minimum(counts, most))])
    return sparse.csr_array((matrix.data[kept], matrix.indices[kept], ends), shape=matrix.shape)
