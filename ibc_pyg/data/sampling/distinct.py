"""PK batches of P different classes."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.sampling.base import PKSampler, SamplerSettings, chunks_of_class
from ibc_pyg.data.table import Rows

_logger = logging.getLogger(__name__)

Counts = npt.NDArray[np.int64]


class DistinctSampler(PKSampler):
    """Chunks of K images as in `WalkSampler`, combined so that no class repeats within a batch.

    Every epoch contains every image. A class with more chunks than there would be batches makes
    the epoch longer; batches that lack classes are filled up with redrawn classes. With
    `drop_last` no class is redrawn: the epoch has as many batches as can be filled, and the
    remaining chunks are left out.
    """

    def __init__(self, labels: npt.NDArray[np.integer], settings: SamplerSettings) -> None:
        super().__init__(labels, settings)
        P, K = settings.classes_per_batch, settings.images_per_class
        counts = [-(-len(rows) // K) for rows in self.rows_of_class]
        shortest = -(-sum(counts) // P)
        if max(counts) > 2 * shortest and not settings.drop_last:
            _logger.warning(
                "the largest class fills %d chunks of %d images, so an epoch has that many batches "
                "instead of %d, and small classes repeat; the sampler 'walk' avoids this",
                max(counts),
                K,
                shortest,
            )

    def make_plan(self, rng: np.random.Generator) -> Rows:
        """Return the rows of all global batches of an epoch, int64 `[steps, P * K]`."""
        P, K = self.settings.classes_per_batch, self.settings.images_per_class
        chunks = [chunks_of_class(rows, K, rng) for rows in self.rows_of_class]
        counts = np.array([len(own) for own in chunks])  # [C]
        if self.settings.drop_last:
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
    """Draw P different classes with probabilities proportional to their remaining chunks.

    A class with a remaining chunk for every remaining step must be picked now. There are never
    more than P of those: at the start `sum(left) <= P * steps_left`, and each pick preserves it.
    """
    # Gumbel's trick: the P largest of log(weight) + noise are P weighted draws without
    # replacement (Efraimidis and Spirakis 2006). The tiny weight of exhausted classes lets them
    # only fill up a batch.
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
