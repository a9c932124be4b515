"""The walk: every image of every class, in shuffled chunks of K."""

from __future__ import annotations

import numpy as np

from ibc_pyg.data.sampling.base import PKSampler, Rows, chunks_of_class


def walk_plan(
    rows_of_class: list[Rows], P: int, K: int, rng: np.random.Generator, drop_last: bool
) -> Rows:
    """Cut every class into chunks of K, shuffle the chunks, and take P of them a batch.

    Returns:
        Rows of the batches, int64 `[steps, P * K]`.
    """
    chunks = np.concatenate([chunks_of_class(rows, K, rng) for rows in rows_of_class])
    chunks = rng.permutation(chunks)  # [T, K]
    rest = len(chunks) % P
    whole = chunks[: len(chunks) - rest]
    if rest and not drop_last:
        again = rng.choice(len(whole), P - rest, replace=False)
        whole = np.concatenate([chunks, whole[again]])
    return whole.reshape(-1, P * K)  # [steps, P * K]


class WalkSampler(PKSampler):
    """Every image of every class is seen in each epoch, in chunks of K images of a class.

    The images of a class are shuffled and cut into chunks of K; images that are left over make
    one more chunk together with images of the same class that have had their turn. The chunks
    of all classes are shuffled and P of them make a batch, so a class can occur twice in one.
    The last batch is filled up with chunks from earlier batches (`drop_last` leaves it out).

    This is what the released code of https://arxiv.org/abs/2102.07753 does, but for one extra
    chunk that it adds to a class whose size is a multiple of K.
    """

    def make_plan(self, rng: np.random.Generator) -> Rows:
        """Return the rows of all global batches of an epoch, int64 `[steps, P * K]`."""
        return walk_plan(
            self.rows_of_class, self.classes_per_batch, self.images_per_class, rng, self.drop_last
        )
