"""Centroids of inverted lists: k-means in two levels, and one round over all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ibc_pyg.retrieval.store.vectors import Vectors

_ROUNDS = 8
_NEIGHBOURS, _EF = 32, 32
FLAT = 2048
"""Most lists whose centroids are compared with every query; more are found by a graph."""


def spherical_centroids(faiss: Any, x: Vectors, lists: int) -> Vectors:
    """Return centroids of unit vectors.

    k-means with L centroids in one level takes L products per vector and round. Here vectors are
    divided into about sqrt(L) cells, each cell into its share of the L lists, and one round over
    all centroids mends the borders of the cells.

    Args:
        faiss: The module.
        x: Unit vectors, `[N, D]`.
        lists: Number L of centroids, at most N.

    Returns:
        `[L, D]`, of unit norm.
    """
    if lists < 64:
        return _kmeans(faiss, x, lists)
    cells = int(2 ** np.ceil(np.log2(lists) / 2))
    coarse = faiss.IndexFlatIP(x.shape[1])
    coarse.add(_kmeans(faiss, x, cells))
    order, sizes = _grouped(coarse.search(x, 1)[1][:, 0], cells)
    shares = _shares(sizes, lists)
    parts, start = [], 0
    for size, share in zip(sizes.tolist(), shares.tolist(), strict=True):
        if share:
            parts.append(_kmeans(faiss, x[order[start : start + size]], share))
        start += size
    return _round(faiss, x, np.concatenate(parts))


def centroid_index(faiss: Any, centroids: Vectors) -> Any:
    """Return an index that finds the nearest centroids: exact if they are few, else a graph."""
    count, dim = centroids.shape
    if count <= FLAT:
        index = faiss.IndexFlatIP(dim)
    else:
        index = faiss.IndexHNSWFlat(dim, _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 2 * _EF
        index.hnsw.efSearch = _EF
    index.add(centroids)
    return index


def _kmeans(faiss: Any, x: Vectors, number: int) -> Vectors:
    means = faiss.Kmeans(
        x.shape[1],
        number,
        niter=_ROUNDS,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=256,
        seed=1,
    )
    means.train(x)
    centroids: Vectors = means.centroids.reshape(number, x.shape[1])
    return centroids


def _grouped(
    cell: npt.NDArray[np.int64], cells: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the order that sorts vectors by cell, and the sizes of the cells."""
    return np.argsort(cell, kind="stable"), np.bincount(cell, minlength=cells)


def _shares(sizes: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.int64]:
    """Divide a total in proportion to sizes, by largest remainders; at most the size each."""
    wanted = sizes * total / sizes.sum()
    shares: npt.NDArray[np.int64] = np.floor(wanted).astype(np.int64)
    shares[np.argsort(shares - wanted, kind="stable")[: total - shares.sum()]] += 1
    return shares


def _round(faiss: Any, x: Vectors, centroids: Vectors) -> Vectors:
    """Return the means of the vectors of each centroid; a centroid without vectors stays."""
    nearest = centroid_index(faiss, centroids).search(x, 1)[1][:, 0]
    order, sizes = _grouped(np.maximum(nearest, 0), len(centroids))
    filled = np.flatnonzero(sizes)
    starts = np.cumsum(sizes)[filled] - sizes[filled]
    sums = np.add.reduceat(x[order], starts, axis=0)  # [filled, D]
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    moved = centroids.copy()
    moved[filled] = np.where(norms > 0, sums / np.maximum(norms, 1e-30), centroids[filled])
    return moved
