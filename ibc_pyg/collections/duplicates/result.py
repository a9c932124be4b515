"""Groups of copies, from candidates and small pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ibc_pyg.collections.duplicates.best import Quality, best_copy
from ibc_pyg.collections.duplicates.candidates import Pairs, unique_pairs
from ibc_pyg.collections.duplicates.groups import complete_groups
from ibc_pyg.collections.duplicates.judge import THRESHOLD, Judge, Judged, joined
from ibc_pyg.collections.duplicates.small import SmallPictures
from ibc_pyg.errors import ConfigError

SHOWN = 0.5
"""Least similarity of the pairs that a page shows."""


@dataclass(frozen=True)
class Settings:
    """Settings of the search for duplicates.

    Attributes:
        threshold: Least similarity of two copies, in (0, 1].
        mirrored: Whether mirrored copies count.
        neighbours: Nearest descriptors of a picture that are compared with it.

    Raises:
        ConfigError: If a value is out of range.
    """

    threshold: float = THRESHOLD
    mirrored: bool = True
    neighbours: int = 16

    def __post_init__(self) -> None:
        """Check the values."""
        if not SHOWN <= self.threshold <= 1:
            raise ConfigError(f"threshold must be in [{SHOWN}, 1], not {self.threshold}")
        if self.neighbours < 1:
            raise ConfigError(f"neighbours must be >= 1, not {self.neighbours}")


@dataclass(frozen=True)
class Group:
    """Files that show the same picture.

    Attributes:
        paths: Two files or more, sorted.
        best: The one that is worth keeping.
        similarity: The lowest of its pairs; 1 if all files have the same content.
        exact: Whether all files have the same content.
        qualities: Measures of the files that can be read.
    """

    paths: tuple[str, ...]
    best: str
    similarity: float
    exact: bool
    qualities: dict[str, Quality] = field(default_factory=dict)


@dataclass(frozen=True)
class Duplicates:
    """Result of a search.

    Attributes:
        pictures: Number of different contents.
        files: Number of files.
        groups: Groups of copies, by their first path.
        judged: Compared pairs of similarity 0.5 and more.
        paths: Files of each content that `judged` numbers.
        unread: Files that could not be read, so that only their content was compared.
        settings: As given.
    """

    pictures: int
    files: int
    groups: Sequence[Group]
    judged: Judged
    paths: Sequence[tuple[str, ...]]
    unread: Sequence[str]
    settings: Settings

    def to_json(self) -> dict[str, object]:
        """Return the groups and their best copies for a JSON file."""
        return {
            "groups": [list(group.paths) for group in self.groups],
            "best": [group.best for group in self.groups],
            "similarity": [round(group.similarity, 4) for group in self.groups],
            "threshold": self.settings.threshold,
            "unread": list(self.unread),
        }


@dataclass(frozen=True)
class Sides:
    """Which contents are in the first index, and which in the second, bool `[N]` each."""

    first: npt.NDArray[np.bool_]
    second: npt.NDArray[np.bool_]

    def across(self, pairs: Pairs) -> npt.NDArray[np.bool_]:
        """Return which pairs have a picture of each index."""
        i, j = pairs[:, 0], pairs[:, 1]
        return (self.first[i] & self.second[j]) | (self.second[i] & self.first[j])


def assemble(
    paths: Sequence[tuple[str, ...]],
    small: SmallPictures,
    candidates: Iterable[Pairs],
    sides: Sides | None,
    settings: Settings,
) -> Duplicates:
    """Compare candidates and join them to groups.

    Args:
        paths: Files of each content, in an order that does not depend on that of the files.
        small: Small pictures of the contents.
        candidates: Pairs that may be copies.
        sides: If given, only groups of both sides are of interest.
        settings: Settings.
    """
    judge = Judge(small, settings.mirrored)
    pairs = unique_pairs(candidates)
    judged = judge.judge(pairs if sides is None else pairs[sides.across(pairs)])
    judged = judged.where(judged.similarity >= SHOWN)
    copies = judged.where(judged.passing(settings.threshold))
    later: list[Judged] = []

    def verdict(new: Pairs) -> npt.NDArray[np.bool_]:
        later.append(judge.judge(new))
        return later[-1].passing(settings.threshold)

    near = complete_groups(copies.pairs, copies.similarity, verdict)
    scores = joined([copies, *later])
    similarity = dict(
        zip(map(tuple, scores.pairs.tolist()), scores.similarity.tolist(), strict=True)
    )
    grouped = {place for group in near for place in group}
    alone = [[place] for place, files in enumerate(paths) if place not in grouped and files[1:]]
    groups = []
    for places in near + alone:
        if sides is not None and not (sides.first[places].any() and sides.second[places].any()):
            continue
        files = tuple(sorted(path for place in places for path in paths[place]))
        best, qualities = best_copy(files)
        lowest = min((similarity[pair] for pair in combinations(places, 2)), default=1.0)
        groups.append(Group(files, best, lowest, len(places) == 1, qualities))
    return Duplicates(
        pictures=len(paths),
        files=sum(map(len, paths)),
        groups=sorted(groups, key=lambda group: group.paths),
        judged=judged,
        paths=paths,
        unread=[paths[place][0] for place in small.unread],
        settings=settings,
    )
