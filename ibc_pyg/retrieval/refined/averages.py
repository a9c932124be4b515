"""Query expansion and database-side augmentation in an index: averages of neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ibc_pyg.metrics import Neighbours
from ibc_pyg.refinement import Parameters, average
from ibc_pyg.refinement.method import mixed
from ibc_pyg.retrieval.nearest import NearestRows, unit
from ibc_pyg.retrieval.refined.writing import Rows, Writing
from ibc_pyg.retrieval.store.vectors import Vectors

Search = Callable[[int, Vectors, int], NearestRows]
"""Search for the k nearest live rows of queries `[Q, D]` in the input of a round, from 0."""


def write_averages(files: Writing, p: Parameters) -> Vectors:
    """Average all vectors of an index with their neighbours, in rounds.

    Returns:
        The last vectors, `[N, D']`.
    """
    stage, dim = files.vectors, files.vectors.shape[1]
    for number in range(p.rounds):
        source = stage

        def refine(own: Rows, source: Vectors = source) -> Tensor:
            near = files.neighbours(source, own, p.k)
            return averaged(source, unit(source[own]), near, p.power)  # [n, D]

        share = p.share if number == p.rounds - 1 else 0
        stage = files.write_vectors(dim * (p.k + 1), share, refine)
    return stage


def averaged(vectors: Vectors, x: Tensor, found: NearestRows, power: float) -> Tensor:
    """Average descriptors with their neighbours.

    Args:
        vectors: `[N, D]`.
        x: Unit-norm float32 `[Q, D]`.
        found: Neighbours of each, `[Q, k]`.
        power: Exponent of the cosine.

    Returns:
        Unit-norm float32 `[Q, D]`; see `ibc_pyg.refinement.average`.
    """
    if not found.rows.size:
        return x
    rows, place = np.unique(found.rows, return_inverse=True)
    near = Neighbours(
        torch.from_numpy(place.reshape(found.rows.shape)),
        torch.from_numpy(found.similarities),
    )
    return average(x, unit(vectors[rows]), near, power)


def expanded(queries: Vectors, vectors: Vectors, search: Search, p: Parameters) -> Vectors:
    """Return queries `[Q, D]` averaged with their neighbours, see `ibc_pyg.refinement`."""

    def always_first(_: int, x: Vectors, k: int) -> NearestRows:
        return search(0, x, k)

    x, refined = unit(queries), _in_rounds(queries, [vectors] * p.rounds, always_first, p)
    return F.normalize(p.share * x + (1 - p.share) * refined, dim=1).numpy()


def augmented(
    queries: Vectors, stages: Sequence[Vectors], search: Search, p: Parameters
) -> Vectors:
    """Return queries as the vectors of an index were refined, `[Q, D']`.

    Args:
        queries: `[Q, D]`.
        stages: Input of each round.
        search: Search in them.
        p: Parameters.
    """
    return mixed(unit(queries), _in_rounds(queries, stages, search, p), p.share).numpy()


def _in_rounds(
    queries: Vectors, stages: Sequence[Vectors], search: Search, p: Parameters
) -> Tensor:
    refined = unit(queries)  # [Q, D]
    for number, stage in enumerate(stages):
        if p.k:
            near = search(number, refined.numpy(), p.k)
            refined = averaged(stage, refined, near, p.power)  # [Q, D]
    return refined
