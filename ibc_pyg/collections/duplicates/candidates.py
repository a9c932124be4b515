"""Pairs of pictures that may be copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from ibc_pyg.collections.contents import Rows
from ibc_pyg.collections.duplicates.small import SmallPictures, distances

NEAR = 24
"""Most different bits of 64 of a copy; two unrelated pictures differ in about 32."""
CLOSE = 10
"""Most different bits of a copy that is found by its hash alone."""
_BANDS = 4
_NEXT = 16

Pairs = npt.NDArray[np.int64]
"""Places of pairs of pictures, int64 `[P, 2]`, the lower one first, without repetition."""
Mask = npt.NDArray[np.bool_]


def unique_pairs(parts: Iterable[Pairs]) -> Pairs:
    """Return the pairs of several lists, each once and ascending."""
    pairs = np.concatenate([np.empty((0, 2), np.int64), *parts])
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)  # [P, 2]
    return np.unique(pairs, axis=0)


def likely(pairs: Pairs, small: SmallPictures, most: int, *, mirrored: bool) -> Mask:
    """Return which pairs have hashes of at most `most` different bits, bool `[P]`."""
    i, j = pairs[:, 0], pairs[:, 1]
    near = distances(small.hashes[i], small.hashes[j]) <= most
    if mirrored:
        near |= distances(small.hashes[i], small.mirrored[j]) <= most
    return near & small.usable[i] & small.usable[j]


def by_neighbours(
    lists: Iterable[tuple[Rows, Rows]], small: SmallPictures, *, mirrored: bool
) -> Iterator[Pairs]:
    """Yield pairs of pictures and their neighbours whose hashes are not too different.

    Args:
        lists: Places `[Q]` and places of their neighbours `[Q, k]`.
        small: The small pictures.
        mirrored: Whether mirrored copies count.
    """
    for own, others in lists:
        pairs = np.stack([np.repeat(own, others.shape[1]), others.ravel()], 1)  # [Q * k, 2]
        yield pairs[likely(pairs, small, NEAR, mirrored=mirrored)]


def by_hash(small: SmallPictures, *, mirrored: bool) -> Iterator[Pairs]:
    """Yield pairs whose hashes agree in one of four parts and differ in few bits.

    Hashes that differ in three bits or less agree in a part. In the order of the hashes with the
    same part, each picture is compared with the next ones only, so that many pictures that look
    alike do not make a pair each with each.
    """
    usable = np.flatnonzero(small.usable)
    place = np.concatenate([usable, usable]) if mirrored else usable  # [E]
    hashes = small.hashes[usable]
    if mirrored:
        hashes = np.concatenate([hashes, small.mirrored[usable]])  # [E]
    bits = 64 // _BANDS
    for band in range(_BANDS):
        # The part that agrees comes first, the others decide the order.
        turned = hashes << np.uint64(bits * band)
        if band:
            turned |= hashes >> np.uint64(64 - bits * band)
        order = np.lexsort((place, turned))
        part, sorted_place = turned[order] >> np.uint64(64 - bits), place[order]
        for step in range(1, _NEXT + 1):
            same = part[step:] == part[:-step]
            pairs = np.stack([sorted_place[:-step][same], sorted_place[step:][same]], 1)  # [P, 2]
            pairs = pairs[pairs[:, 0] != pairs[:, 1]]
            yield pairs[likely(pairs, small, CLOSE, mirrored=mirrored)]
