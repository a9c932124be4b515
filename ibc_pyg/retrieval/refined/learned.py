"""The trained refiner in an index: what its rounds need is stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ibc_pyg.refinement.learned.edge_features import Lists, edge_features
from ibc_pyg.refinement.learned.refiner import Refiner
from ibc_pyg.refinement.method import mixed
from ibc_pyg.retrieval.nearest import NearestRows, unit
from ibc_pyg.retrieval.refined.averages import Search
from ibc_pyg.retrieval.refined.lists import StoredLists
from ibc_pyg.retrieval.refined.record import WEIGHTS_FILE
from ibc_pyg.retrieval.refined.writing import Rows, Writing
from ibc_pyg.retrieval.store.vectors import Vectors

_AT_A_TIME = 512
"""Descriptors that are refined at a time."""


def write_refined(files: Writing, refiner: Refiner, weights: Path) -> Vectors:
    """Refine all vectors of an index by a trained refiner, and keep a copy of its file.

    Returns:
        The last vectors, `[N, D']`.
    """
    stage, dim, k = files.vectors, files.vectors.shape[1], refiner.config.k
    most = min(k, int(files.live.sum()) - 1)
    for number, step in enumerate(refiner.rounds):
        source = stage

        def find(own: Rows, source: Vectors = source) -> NearestRows:
            return files.neighbours(source, own, k)

        lists = files.write_lists(dim * (k + 1), most, find)

        def refine(
            own: Rows,
            source: Vectors = source,
            lists: StoredLists = lists,
            step: nn.Module = step,
        ) -> Tensor:
            return _refined(step, unit(source[own]), _near(lists, own), source, lists)

        share = refiner.share if number == refiner.config.rounds - 1 else 0
        stage = files.write_vectors(k * (dim + k), share, refine)
    files.copy(WEIGHTS_FILE, weights)
    return stage


def refined_queries(
    refiner: Refiner,
    queries: Vectors,
    levels: Sequence[tuple[Vectors, StoredLists]],
    search: Search,
) -> Vectors:
    """Refine queries among the rows of an index, each alone.

    Args:
        refiner: The refiner.
        queries: `[Q, D]`.
        levels: Input of each round, with its lists.
        search: Search in these inputs.

    Returns:
        Unit-norm `[Q, D']`.
    """
    x = start = unit(queries)  # [Q, D]
    for number, (step, (stage, lists)) in enumerate(zip(refiner.rounds, levels, strict=True)):
        near = search(number, x.numpy(), refiner.config.k)
        x = _refined(step, x, near, stage, lists)
    return mixed(start, x, refiner.share).numpy()


def _near(lists: StoredLists, rows: Rows) -> NearestRows:
    own = lists[rows]  # [n, k]
    return NearestRows(own["row"].astype(np.int64), np.ascontiguousarray(own["value"]))


@torch.no_grad()
def _refined(
    step: nn.Module, x: Tensor, near: NearestRows, stage: Vectors, lists: StoredLists
) -> Tensor:
    """Refine descriptors by a round, `[n, D]`; without neighbours they stay."""
    if not near.rows.size or not lists.shape[1]:
        return x
    k, dim, out = near.rows.shape[1], x.shape[1], []
    for part in torch.split(torch.arange(len(x)), _AT_A_TIME):
        own = _as_lists(near).rows(part)  # [n, k]
        items = unit(stage[own.indices.ravel().numpy()]).view(len(part), k, dim)  # [n, k, D]
        theirs = _as_lists(_near(lists, own.indices.numpy()))  # [n, k, k']
        features = edge_features(own, items, theirs)
        out.append(step(x[part], features, own.similarities, items))  # [n, D]
    return torch.cat(out)


def _as_lists(found: NearestRows) -> Lists:
    return Lists(torch.from_numpy(found.rows), torch.from_numpy(found.similarities))
