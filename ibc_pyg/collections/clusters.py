"""Groups of similar pictures: k-means, or HDBSCAN in indexes of bounded size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ibc_pyg.collections.contents import Contents
from ibc_pyg.errors import ConfigError, RunError, printable
from ibc_pyg.metrics.clustering import (
    KMeansSettings,
    default_passes,
    default_swaps,
    kmeans,
)
from ibc_pyg.retrieval.reader import IndexReader

MOST_HDBSCAN = 50_000
"""Most pictures of HDBSCAN, which compares each with each; 50,000 take hours."""


@dataclass(frozen=True)
class Member:
    """A picture of a group.

    Attributes:
        path: Its first file.
        label: Its class; None without one.
        similarity: Cosine to the centre of the group.
    """

    path: str
    label: str | None
    similarity: float


@dataclass(frozen=True)
class Cluster:
    """A group of similar pictures.

    Attributes:
        members: Its pictures, most central first.
        name: Name that was given to it, or "".
    """

    members: Sequence[Member]
    name: str = ""

    @property
    def labels(self) -> list[tuple[str, float]]:
        """Classes in the group with their shares, most frequent first."""
        counts = Counter(each.label for each in self.members if each.label is not None)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return [(label, count / len(self.members)) for label, count in ranked]


@dataclass(frozen=True)
class Clusters:
    """Result of a clustering.

    Attributes:
        clusters: Groups, largest first.
        rest: Pictures that HDBSCAN leaves without a group.
        method: What was done, in a few words.
    """

    clusters: Sequence[Cluster]
    rest: Sequence[Member]
    method: str


def k_means_clusters(index: IndexReader, number: int, *, seed: int = 0) -> Clusters:
    """Divide the pictures of an index into groups by k-means, as `evaluate` does for NMI.

    Args:
        index: The index.
        number: Number of groups.
        seed: Seed of all draws.

    Raises:
        ConfigError: If there are not as many pictures.
    """
    contents, vectors = _read(index)
    if not 1 <= number <= len(contents):
        raise ConfigError(f"-n must be 1 to {len(contents):,}, the number of pictures: {number}")
    settings = KMeansSettings(swaps=default_swaps(number), passes=default_passes(number), seed=seed)
    assigned, _, _ = kmeans(torch.from_numpy(vectors), number, settings)
    return _clusters(contents, vectors, assigned, f"k-means, {number:,} groups, seed {seed}")


def hdbscan_clusters(index: IndexReader, least: int = 5) -> Clusters:
    """Find groups of any number by density, and leave out pictures between them.

    HDBSCAN of scikit-learn (Campello et al. 2013).

    Args:
        index: The index.
        least: Least size of a group, >= 2.

    Raises:
        ConfigError: If an argument is out of range.
        RunError: If the index has more than `MOST_HDBSCAN` pictures.
    """
    if least < 2:
        raise ConfigError(f"the least size of a group must be >= 2, not {least}")
    if len(index) > MOST_HDBSCAN:
        raise RunError(
            f"{printable(index.path)} has {len(index):,} pictures; HDBSCAN compares each with each "
            f"and takes at most {MOST_HDBSCAN:,}. Use k-means: -n NUMBER"
        )
    from sklearn.cluster import HDBSCAN

    contents, vectors = _read(index)
    assigned = np.full(len(contents), -1)
    if len(contents) >= least:
        # Distances of unit vectors order pairs as cosines do; a tree needs no matrix of them.
        search = HDBSCAN(min_cluster_size=least, algorithm="kd_tree", copy=True)
        assigned = search.fit(vectors.astype(np.float64)).labels_
    return _clusters(contents, vectors, assigned, f"HDBSCAN, groups of {least} and more")


def _read(index: IndexReader) -> tuple[Contents, npt.NDArray[np.float32]]:
    """Return the contents in the order of their rows, and their vectors `[N, D]`."""
    found = Contents.of(index)
    order = np.argsort(found.rows)
    contents = Contents(
        rows=found.rows[order],
        paths=[found.paths[i] for i in order],
        labels=[found.labels[i] for i in order],
        digests=[found.digests[i] for i in order],
    )
    if not len(contents):
        raise RunError(f"{printable(index.path)} has no pictures")
    return contents, np.ascontiguousarray(index.vectors[contents.rows])


def _clusters(
    contents: Contents,
    vectors: npt.NDArray[np.float32],
    assigned: npt.NDArray[np.int64],
    method: str,
) -> Clusters:
    order = np.argsort(assigned, kind="stable")
    starts = np.flatnonzero(np.diff(assigned[order], prepend=assigned[order[0]] - 1))
    groups = np.split(order, starts[1:])
    found, rest = [], []
    for places in groups:
        part = vectors[places]  # [n, D]
        centre = part.mean(0, dtype=np.float64)  # [D]
        norm = float(np.linalg.norm(centre)) or 1.0
        scores = part @ (centre / norm)  # [n]
        ranked = np.lexsort((places, -scores))
        members = [
            Member(contents.paths[places[i]][0], contents.labels[places[i]], float(scores[i]))
            for i in ranked.tolist()
        ]
        if assigned[places[0]] < 0:
            rest = members
        else:
            found.append(Cluster(members))
    found.sort(key=lambda each: (-len(each.members), each.members[0].path))
    return Clusters(found, rest, method)
