"""Names of the metrics, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Iterable

METRICS = ("MAP@R", "RP", "NMI", "AMI", "ARI")
"""All metrics but R@K, whose name depends on K."""

OWN = "own/"
"""Beginning of the names of metrics of the user."""

HEADLINES = ("R@1", "MAP@R", "RP", "NMI")
"""Metrics that stand for a run where there is no room for all."""


def is_metric(name: str) -> bool:
    """Return whether a name is that of a metric: R@K, one of `METRICS`, or own/NAME."""
    return name in METRICS or name.startswith(OWN) or _is_recall(name)


def metric_names(names: Iterable[str]) -> list[str]:
    """Return the metrics among `names`: R@K by ascending K, then the others, own ones last.

    >>> metric_names(["seed", "NMI", "R@10", "MAP@R", "R@1"])
    ['R@1', 'R@10', 'MAP@R', 'NMI']
    """
    found = list(dict.fromkeys(filter(is_metric, names)))
    recalls = sorted(filter(_is_recall, found), key=lambda name: int(name[2:]))
    own = [name for name in found if name.startswith(OWN)]
    return [*recalls, *(name for name in METRICS if name in found), *own]


def _is_recall(name: str) -> bool:
    return name.startswith("R@") and name[2:].isdecimal()
