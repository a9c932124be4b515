"""The largest entries of sparse rows against sorting of dense ones."""

import numpy as np
from scipy import sparse

from ibc_pyg.refinement.sparse_graph import largest, product


def dense_largest(matrix, most):
    out = np.zeros_like(matrix)
    for row, values in enumerate(matrix):
        best = np.argsort(-values, kind="stable")[:most]
        out[row, best] = values[best]
    return out


def draw(rows, columns, seed):
    draws = np.random.default_rng(seed)
    # Few different values, so that rows are cut between equal ones.
    values = draws.integers(1, 6, (rows, columns)) * (draws.random((rows, columns)) < 0.5)
    return values.astype(np.float32)


def test_largest_entries_and_the_lower_of_equal_columns():
    for seed in range(20):
        matrix = draw(9, 14, seed)
        for most in (1, 3, 7, 14):
            found = largest(sparse.csr_array(matrix), most)
            assert np.array_equal(found.toarray(), dense_largest(matrix, most))
            assert np.diff(found.indptr).max() <= most


def test_largest_of_columns_in_any_order():
    matrix = draw(6, 10, 3)
    shuffled = sparse.csr_array(matrix)
    for start, end in zip(shuffled.indptr[:-1], shuffled.indptr[1:], strict=True):
        shuffled.indices[start:end] = shuffled.indices[start:end][::-1].copy()
        shuffled.data[start:end] = shuffled.data[start:end][::-1].copy()
    assert np.array_equal(largest(shuffled, 3).toarray(), dense_largest(matrix, 3))


def test_product_is_cut():
    left, right = draw(8, 9, 1), draw(9, 12, 2)
    found = product(sparse.csr_array(left), sparse.csr_array(right), 4)
    assert np.array_equal(found.toarray(), dense_largest(left @ right, 4))


def test_empty_rows():
    empty = sparse.csr_array((3, 5), dtype=np.float32)
    assert largest(empty, 2).nnz == 0
    assert product(empty, sparse.csr_array((5, 4), dtype=np.float32), 2).shape == (3, 4)
