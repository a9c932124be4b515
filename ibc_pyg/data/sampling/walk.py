"""PK batches of shuffled chunks: every image of every class once per epoch."""

from __future__ import annotations

import numpy as np

from ibc_pyg.data.sampling.base import PKSampler, chunks_of_class
from ibc_pyg.data.table import Rows


def walk_plan(
    rows_of_class: list[Rows], P: int, K: int, rng: np.random.Generator, drop_last: bool
) -> Rows:
    """Cut every class into chunks of K, shuffle the chunks, and group P of them per batch.

    Returns:
        Rows of the batches, int64 `[steps, P * K]`.
    """
    chunks = np.concatenate([chunks_of_class(rows, K, rng) for rows in rows_of_class])
    chunks = rng.permutation(chunks)  # [T, K]
    rest = len(chunks) % P
    whole = chunks[: len(chunks) - rest]
    if rest and not drop_last:
        repeated = rng.choice(len(whole), P - rest, replace=False)
        whole = np.concatenate([chunks, whole[repeated]])
    return whole.reshape(-1, P * K)  # [steps, P * K]


class WalkSampler(PKSampler):
    """Every image of every class in each epoch, in chunks of K images of a class.

    The images of a class are shuffled and cut into chunks of K; the last chunk is filled up with
    other images of the class. The chunks of all classes are shuffled and P of them make a batch,
    so a class can occur twice in a batch. The last batch is filled up with chunks of earlier
    batches (`drop_last` drops it).

    The released code of https://arxiv.org/abs/2102.07753 works the same way, except that it adds
    an extra chunk to a class whose size is a multiple of K.
    """

    def make_plan(self, rng: np.random.Generator) -> Rows:
        """Return the rows of all global batches of an epoch, int64 `[steps, P * K]`."""
        P, K = self.settings.classes_per_batch, self.settings.images_per_class
        return walk_plan(self.rows_of_class, P, K, rng, self.settings.drop_last)
