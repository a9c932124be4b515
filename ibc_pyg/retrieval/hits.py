"""Hits of a search, and the class that neighbours vote for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ibc_pyg.errors import printable


@dataclass(frozen=True)
class Hit:
    """A picture found in an index.

    Attributes:
        rank: From 1.
        similarity: Cosine, in [-1, 1].
        path: Its file.
        label: Its class; None without one.
        row: Its row in `Index.vectors`.
        identical: Whether the query is a file with the same content.
        copies: Other files of the same content.
        strangers: How often pictures of two different classes are at least this similar, in
            [0, 1], by the calibration of the index; None without one.
    """

    rank: int
    similarity: float
    path: str
    label: str | None
    row: int
    identical: bool = False
    copies: tuple[str, ...] = ()
    strangers: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the attributes, for a JSON file."""
        return vars(self) | {"copies": list(self.copies)}


@dataclass(frozen=True)
class Vote:
    """Class that the neighbours of a query vote for.

    Attributes:
        label: The class.
        share: Its part of all votes, in (0, 1].
    """

    label: str
    share: float

    def __str__(self) -> str:
        """Return class and share."""
        return f"{printable(self.label)} ({self.share:.0%} of the votes)"


def vote(hits: Iterable[Hit]) -> Vote | None:
    """Classify a query by its neighbours.

    Each hit with a class gives it as many votes as its similarity, and none if that is negative.
    The class with most votes wins, the one of the nearer hit among equals.

    Returns:
        None if no hit has a class and a positive similarity.
    """
    votes: dict[str, float] = {}
    for hit in hits:
        if hit.label is not None and hit.similarity > 0:
            votes[hit.label] = votes.get(hit.label, 0.0) + hit.similarity
    if not votes:
        return None
    winner = max(votes, key=lambda label: votes[label])
    return Vote(winner, votes[winner] / sum(votes.values()))


def rate(value: float) -> str:
    """Return a small share as people say it: `1 in 250`, or per cent from 5 % on."""
    if value >= 0.05:
        return f"{100 * value:.0f} %"
    return f"1 in {round(1 / value):,}" if value > 0 else "none"
