"""Names of the metrics, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Iterable

METRICS = ("MAP@R", "RP", "NMI", "AMI", "ARI")
"""All metrics but R@K, whose name depends on K."""

HEADLINES = ("R@1", "MAP@R", "RP", "NMI")
"""Metrics that stand for a run where there is no room for all."""


def is_metric(name: str) -> bool:
    """Return whether a name is that of a metric: R@K or one of `METRICS`."""
    return name in METRICS or (name.startswith("R@") and name[2:].isdecimal())


def metric_names(names: Iterable[str]) -> list[str]:
    """Return the metrics among `names`: R@K by ascending K, then the others in their order.

    >>> metric_names(["seed", "NMI", "R@10", "MAP@R", "R@1"])
    ['R@1', 'R@10', 'MAP@R', 'NMI']
    """
    found = {name for name in names if is_metric(name)}
    recalls = sorted(found.difference(METRICS), key=lambda name: int(name[2:]))
    return [*recalls, *(name for name in METRICS if name in found)]
