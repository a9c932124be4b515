"""Verdicts on pairs of pictures, by their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ibc_pyg.collections.duplicates.alignment import compare
from ibc_pyg.collections.duplicates.candidates import NEAR, Pairs
from ibc_pyg.collections.duplicates.small import SmallPictures, distances
from ibc_pyg.threads import map_in_threads

_BATCH = 256

THRESHOLD = 0.95
"""Similarity of a copy. Chosen on the 41 training classes of GroceryStore: copies that were cut by
5 % and compressed have 0.96 and more, photographs of one class rarely."""


@dataclass(frozen=True)
class Judged:
    """Compared pairs.

    Attributes:
        pairs: Places, int64 `[P, 2]`.
        similarity: See `alignment.Likeness`, float32 `[P]`.
        nested: Whether the frame of one lies within that of the other, bool `[P]`.
        mirrored: Whether the second was mirrored, bool `[P]`.
    """

    pairs: Pairs
    similarity: npt.NDArray[np.float32]
    nested: npt.NDArray[np.bool_]
    mirrored: npt.NDArray[np.bool_]

    def passing(self, threshold: float) -> npt.NDArray[np.bool_]:
        """Return which pairs are copies, bool `[P]`."""
        return self.nested & (self.similarity >= threshold)

    def where(self, mask: npt.NDArray[np.bool_]) -> Judged:
        """Return some of the pairs."""
        return Judged(
            self.pairs[mask], self.similarity[mask], self.nested[mask], self.mirrored[mask]
        )


@dataclass(frozen=True)
class Judge:
    """Comparison of small pictures, also with one of them mirrored.

    Attributes:
        small: The small pictures.
        mirrored: Whether mirrored copies count.
    """

    small: SmallPictures
    mirrored: bool = True

    def judge(self, pairs: Pairs) -> Judged:
        """Compare pairs `[P, 2]`; pictures that are not usable have similarity 0."""
        parts = (pairs[at : at + _BATCH] for at in range(0, len(pairs), _BATCH))
        return joined(list(map_in_threads(self._batch, parts, torch.device("cpu"))))

    def _batch(self, pairs: Pairs) -> Judged:
        small, number = self.small, len(pairs)
        i, j = pairs[:, 0], pairs[:, 1]
        similarity = np.zeros(number, np.float32)
        nested, turned = np.zeros(number, np.bool_), np.zeros(number, np.bool_)
        usable = small.usable[i] & small.usable[j]
        for flip in (False, True)[: 1 + self.mirrored]:
            hashes = small.mirrored if flip else small.hashes
            chosen = np.flatnonzero(usable & (distances(small.hashes[i], hashes[j]) <= NEAR))
            if not len(chosen):
                continue
            second = small[j[chosen]]
            found = compare(small[i[chosen]], second[:, :, ::-1] if flip else second)
            # The sixth decimal depends on the machine.
            values = np.round(found.similarity, 5)
            better = (values * (0.5 + found.nested)) > (similarity[chosen] * (0.5 + nested[chosen]))
            at = chosen[better]
            similarity[at], nested[at] = values[better], found.nested[better]
            turned[at] = flip
        return Judged(pairs, similarity, nested, turned)


def joined(parts: list[Judged]) -> Judged:
    """Return several lists of compared pairs as one."""
    return Judged(
        np.concatenate([np.empty((0, 2), np.int64), *(part.pairs for part in parts)]),
        np.concatenate([np.empty(0, np.float32), *(part.similarity for part in parts)]),
        np.concatenate([np.empty(0, np.bool_), *(part.nested for part in parts)]),
        np.concatenate([np.empty(0, np.bool_), *(part.mirrored for part in parts)]),
    )
