"""Recall of an approximate search, and the least effort that reaches a wanted one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from ibc_pyg.retrieval.ann.engine import Engine
from ibc_pyg.retrieval.nearest import Pairs, nearest_rows, ordered, unit
from ibc_pyg.retrieval.store.vectors import Vectors

K = 10
SAMPLE = 1000
_Z = 1.96  # of the 95 % interval
_TIE = 1e-6
"""Difference of cosines below which two rows are equally good."""


class Recall:
    """Recall@10 against the exact search, of indexed vectors, each left out of its own answer.

    A row counts if it is as similar as the tenth exact neighbour: among equal pictures any is
    right.

    Args:
        engine: The approximate search in all rows.
        vectors: `[N, D]`.
        chosen: Rows that may be found, ascending.
        seed: Seed of the sample.

    Attributes:
        sample: Number of queries.
        table: Recall of each effort that was measured.
        errors: Standard error of each, over the queries.
    """

    def __init__(
        self, engine: Engine, vectors: Vectors, chosen: npt.NDArray[np.int64], seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self._own = np.sort(rng.choice(chosen, min(SAMPLE, len(chosen)), replace=False))  # [S]
        self._engine, self._vectors = engine, vectors
        self._allowed = None
        if len(chosen) < len(vectors):
            self._allowed = np.zeros(len(vectors), np.bool_)
            self._allowed[chosen] = True
        self._queries = np.ascontiguousarray(vectors[self._own])  # [S, D]
        self._k = min(K, len(chosen) - 1)
        exact = nearest_rows(vectors, self._queries, self._k + 1, self._allowed)
        self._worst = exact.without(self._own).similarities[:, -1:] - _TIE  # [S, 1]
        self.sample = len(self._own)
        self.table: dict[int, float] = {}
        self.errors: dict[int, float] = {}

    def __call__(self, effort: int) -> float:
        """Return the recall of an effort, in [0, 1]."""
        if effort not in self.table:
            found = self._measure(effort)  # [S]
            self.table[effort] = float(found.mean())
            self.errors[effort] = float(found.std() / len(found) ** 0.5)
        return self.table[effort]

    def at_least(self, effort: int) -> float:
        """Return the lower end of the 95 % interval of the recall of an effort."""
        return self(effort) - _Z * self.errors[effort]

    def _measure(self, effort: int) -> npt.NDArray[np.float64]:
        """Return the recall of each query, `[S]`."""
        if self._k < 1:
            return np.ones(self.sample)
        number = 2 * (self._k + 1) + 16
        rows = self._engine.search(unit(self._queries).numpy(), number, effort, self._allowed)
        query, column = np.nonzero((rows >= 0) & (rows != self._own[:, None]))
        pairs = Pairs(torch.from_numpy(query), torch.from_numpy(rows[query, column]))
        order, squares = ordered(self._vectors, self._queries, pairs, self._k)
        query = pairs.query[order].numpy()
        good = (1 - squares / 2).numpy() >= self._worst[query, 0]
        return np.bincount(query[good], minlength=self.sample) / self._k


def least_effort(recall: Recall, engine: Engine, target: float) -> int:
    """Return the least effort whose recall reaches a target, or the greatest there is.

    The lower end of the interval has to reach it: the least effort whose mean does would miss the
    target for every other set of queries.
    """
    low, high = engine.least - 1, engine.least
    while recall.at_least(high) < target and high < engine.most:
        low, high = high, min(engine.most, 2 * high)
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        low, high = (low, middle) if recall.at_least(middle) >= target else (middle, high)
    return high
