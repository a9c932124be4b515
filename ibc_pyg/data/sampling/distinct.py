"""PK batches whose P classes are all different."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.sampling.base import PKSampler, Rows, chunks_of_class

_LOGGER = logging.getLogger(__name__)

Counts = npt.NDArray[np.int64]


class DistinctSampler(PKSampler):
    """Chunks of K images as in the walk, put together so that no class occurs twice in a batch.

    Every image is seen in each epoch. A class with more chunks than there would be batches makes
    the epoch longer; batches that lack classes are filled up with classes drawn anew. With
    `drop_last` no class is drawn anew: the epoch has as many batches as can be filled, and
    chunks that find no place are left out of it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        P, K = self.classes_per_batch, self.images_per_class
        counts = [-(-len(rows) // K) for rows in self.rows_of_class]
        shortest = -(-sum(counts) // P)
        if max(counts) > 2 * shortest and not self.drop_last:
            _LOGGER.warning(
                "the largest class fills %d chunks of %d images, so an epoch has as many batches "
                "instead of %d, and small classes are repeated; the sampler 'walk' does without",
                max(counts),
                K,
                shortest,
            )

    def make_plan(self, rng: np.random.Generator) -> Rows:
        """Return the rows of all global batches of an epoch, int64 `[steps, P * K]`."""
        P, K = self.classes_per_batch, self.images_per_class
        chunks = [chunks_of_class(rows, K, rng) for rows in self.rows_of_class]
        counts = np.array([len(own) for own in chunks])  # [C]
        if self.drop_last:
            steps = _fillable_steps(counts, P)
            counts = np.minimum(counts, steps)
        else:
            steps = max(int(counts.max()), -(-int(counts.sum()) // P))
        used = np.zeros_like(counts)
        plan = np.empty((steps, P, K), dtype=np.int64)
        for step in range(steps):
            for place, c in enumerate(_pick(counts - used, P, steps - step, rng)):
                own = chunks[c]
                plan[step, place] = own[used[c] % len(own)]
                used[c] += 1
        return plan.reshape(steps, P * K)  # [steps, P * K]


def _pick(left: Counts, P: int, steps_left: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Pick P different classes, with chances in proportion to the chunks they have left.

    A class that has a chunk left for every step that is left must come now. There are never more
    than P of those: at the start `sum(left) <= P * steps_left`, and each pick keeps that true.
    """
    # Gumbel's trick: the P largest of log(weight) + noise are P weighted draws without
    # replacement (Efraimidis and Spirakis 2006). Classes that are through get a weight so small
    # that they only fill up.
    weight = np.where(left > 0, left, 1e-9)
    score = np.log(weight) + rng.gumbel(size=len(left))
    score[left >= steps_left] = np.inf
    return np.argpartition(-score, P - 1)[:P]


def _fillable_steps(counts: Counts, P: int) -> int:
    """Return the most batches of P different classes that `counts` chunks per class can fill."""
    steps = int(counts.sum()) // P
    while int(np.minimum(counts, steps).sum()) < P * steps:
        steps = int(np.minimum(counts, steps).sum()) // P
    return steps
