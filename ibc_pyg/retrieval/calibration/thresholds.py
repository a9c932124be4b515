"""Thresholds of similarity at given rates of false accepts, from labelled vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibc_pyg.errors import RunError
from ibc_pyg.retrieval.store.vectors import Vectors

RATES = (1e-1, 1e-2, 1e-3, 1e-4)
"""Rates of false accepts that have a threshold."""
MOST_PICTURES, MOST_OF_CLASS = 4000, 100
"""Pictures whose pairs are counted: 8 million pairs, 32 MB."""
_CHUNK = 512
_POINTS = 64

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Threshold:
    """A threshold of cosine similarity.

    Attributes:
        false_accepts: Largest share of pairs of two classes that reach it.
        similarity: The threshold.
        true_accepts: Share of pairs of one class that reach it.
    """

    false_accepts: float
    similarity: float
    true_accepts: float


@dataclass(frozen=True)
class Rates:
    """Counts of pairs by similarity.

    Attributes:
        thresholds: One for each of `RATES` that the pairs allow.
        curve: Similarity and share of the pairs of two classes that reach it, by descending
            similarity.
        pictures: Number of pictures.
        classes: Number of classes.
        same: Number of pairs of one class.
        other: Number of pairs of two classes.
    """

    thresholds: list[Threshold]
    curve: list[list[float]]
    pictures: int
    classes: int
    same: int
    other: int

    def strangers(self, similarity: float) -> float:
        """Return about the share of pairs of two classes that are at least this similar."""
        x = [point[0] for point in reversed(self.curve)]
        y = [math.log(point[1]) for point in reversed(self.curve)]
        return math.exp(float(np.interp(similarity, x, y)))


def count_pairs(vectors: Vectors, rows: Ints, classes: Ints, seed: int = 0) -> Rates:
    """Compare all pairs of labelled pictures, or of a part of them, drawn by whole classes.

    Args:
        vectors: `[N, D]`.
        rows: Labelled rows, int64 `[n]`.
        classes: Their classes, int64 `[n]`.
        seed: Seed of the drawing, which matters from `MOST_PICTURES` pictures on, or from
            `MOST_OF_CLASS` of a class.

    Raises:
        RunError: If there is no pair of one class, or fewer than ten of two.
    """
    rows, classes = _drawn(rows, classes, seed)
    same, other = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    for cosines, equal in _pairs(vectors, rows, classes):
        same.append(cosines[equal])
        other.append(cosines[~equal])
    same_sorted, strangers = np.sort(np.concatenate(same)), np.sort(np.concatenate(other))[::-1]
    if not len(same_sorted) or len(strangers) < 1 / RATES[0]:
        raise RunError(
            f"{len(same_sorted):,} pairs of one class and {len(strangers):,} of two are too few to "
            "calibrate; label more pictures: the class is the name of the folder"
        )
    thresholds = []
    for rate in RATES:
        allowed = int(rate * len(strangers))
        if allowed:
            # The next number above the first stranger that is one too many.
            least = float(np.nextafter(strangers[allowed], np.float32(2)))
            reach = len(same_sorted) - np.searchsorted(same_sorted, np.float32(least))
            thresholds.append(Threshold(rate, least, float(reach / len(same_sorted))))
    ranks = np.unique(np.geomspace(1, len(strangers), _POINTS).astype(np.int64))
    curve = [[float(strangers[rank - 1]), rank / len(strangers)] for rank in ranks.tolist()]
    return Rates(
        thresholds,
        curve,
        len(rows),
        len(np.unique(classes)),
        len(same_sorted),
        len(strangers),
    )


def _drawn(rows: Ints, classes: Ints, seed: int) -> tuple[Ints, Ints]:
    """Draw pictures by class: at most `MOST_OF_CLASS` of each, `MOST_PICTURES` in all."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))
    rows, classes = rows[order], classes[order]
    taken: list[Ints] = []
    total = 0
    for each in rng.permutation(np.unique(classes)).tolist():
        members = np.flatnonzero(classes == each)[:MOST_OF_CLASS]
        if total + len(members) > MOST_PICTURES:
            continue
        taken.append(members)
        total += len(members)
    chosen = np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)
    return rows[chosen], classes[chosen]


def _pairs(vectors: Vectors, rows: Ints, classes: Ints) -> Iterator[tuple[Floats, Ints]]:
    """Yield the cosines of pairs, each pair once, and whether they are of one class."""
    x = np.array(vectors[rows], np.float32)  # [n, D]
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    x /= np.where(norms > 0, norms, 1)
    for start in range(0, len(x), _CHUNK):
        part = slice(start, start + _CHUNK)
        cosines = x[part] @ x[start:].T  # [c, n - start]
        equal = classes[part, None] == classes[None, start:]
        upper = np.triu(np.ones(cosines.shape, np.bool_), 1)
        yield cosines[upper], equal[upper]
