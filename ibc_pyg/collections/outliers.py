"""Pictures unlike the others of their class: likely label errors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ibc_pyg.collections.contents import Contents
from ibc_pyg.collections.neighbours import neighbours
from ibc_pyg.errors import ConfigError, RunError, printable
from ibc_pyg.retrieval.reader import IndexReader

NEIGHBOURS = 10


@dataclass(frozen=True)
class Outlier:
    """A labelled picture, judged by its nearest labelled neighbours.

    Attributes:
        path: Its first file.
        label: Its class.
        agreement: Share of the neighbours' votes for its class, in [0, 1]; a neighbour's vote is
            its similarity, 0 if that is negative.
        suggested: Class with the most votes.
        share: Its share of the votes.
        neighbours: First files of the neighbours, nearest first.
        labels: Their classes.
    """

    path: str
    label: str
    agreement: float
    suggested: str
    share: float
    neighbours: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def suspicious(self) -> bool:
        """Whether another class has more votes than its own."""
        return self.suggested != self.label

    def to_dict(self) -> dict[str, object]:
        """Return path, label, agreement, suggested class and its share."""
        return {
            "path": self.path,
            "label": self.label,
            "agreement": round(self.agreement, 4),
            "suggested": self.suggested,
            "share": round(self.share, 4),
        }


def find_outliers(
    index: IndexReader, k: int = NEIGHBOURS, *, done: Callable[[int], None] | None = None
) -> list[Outlier]:
    """Rank the labelled pictures of an index, most unlike its class first.

    The rank is that of the votes for another class less those for the own one. Classes of one
    picture are ranked too: none of their neighbours can agree.

    Args:
        index: The index.
        k: Neighbours that vote, >= 1.
        done: Called with the number of pictures done.

    Raises:
        ConfigError: If k is out of range.
        RunError: If fewer than two classes are labelled.
    """
    if k < 1:
        raise ConfigError(f"neighbours must be >= 1, not {k}")
    contents = Contents.of(index)
    labels = contents.labels
    if len({label for label in labels if label is not None}) < 2:
        raise RunError(
            f"{printable(index.path)} has fewer than two classes; name them: build it from a "
            "folder with a folder for each class, or from a CSV file"
        )
    found = []
    for part in neighbours(index, contents, k, done):
        rows = zip(part.places.tolist(), part.similarities.tolist(), strict=True)
        for place, (places, scores) in enumerate(rows, start=part.first):
            if labels[place] is not None:
                found.append(_judged(contents, place, places, scores))
    return sorted(found, key=lambda each: (each.agreement - each.share, each.agreement, each.path))


def _judged(
    contents: Contents, place: int, places: Sequence[int], scores: Sequence[float]
) -> Outlier:
    own = contents.labels[place]
    assert own is not None
    votes: defaultdict[str, float] = defaultdict(float)
    shown = []
    for other, score in zip(places, scores, strict=True):
        label = contents.labels[other]
        if label is not None:
            votes[label] += max(score, 0.0)
            shown.append((contents.paths[other][0], label))
    total, agreed = sum(votes.values()), votes[own]
    # The own class wins among equals, then the one of the nearer neighbour.
    suggested = max([own, *votes], key=lambda label: votes[label]) if total > 0 else own
    return Outlier(
        path=contents.paths[place][0],
        label=own,
        agreement=agreed / total if total > 0 else 0.0,
        suggested=suggested,
        share=votes[suggested] / total if total > 0 else 0.0,
        neighbours=tuple(path for path, _ in shown),
        labels=tuple(label for _, label in shown),
    )


def class_agreement(outliers: Sequence[Outlier]) -> dict[str, tuple[int, float]]:
    """Return the number of pictures and their mean agreement of each class, lowest first."""
    values: dict[str, list[float]] = {}
    for each in outliers:
        values.setdefault(each.label, []).append(each.agreement)
    means = {label: (len(each), float(np.mean(each))) for label, each in values.items()}
    return dict(sorted(means.items(), key=lambda item: (item[1][1], item[0])))
