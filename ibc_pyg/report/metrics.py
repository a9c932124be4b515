"""Headline metrics and the table of all metrics, as the report shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ibc_pyg.metrics.names import HEADLINES
from ibc_pyg.report.data import ReportData

MEANINGS = {
    "R@1": "Nearest image is of the same class",
    "MAP@R": "Mean average precision of the R nearest",
    "RP": "Share of the class among the R nearest",
    "NMI": "Agreement of clusters and classes",
}


@dataclass(frozen=True)
class Tile:
    """One headline metric.

    Attributes:
        name: Of the metric.
        value: Of the run.
        floor: Value of the first comparison, or None.
        floor_name: Name of that comparison.
    """

    name: str
    value: float
    floor: float | None
    floor_name: str

    @property
    def is_share(self) -> bool:
        """Whether the value is a fraction in [0, 1], which is shown in per cent."""
        return 0 <= self.value <= 1

    @property
    def meaning(self) -> str:
        """Explanation in a few words, or an empty string."""
        return MEANINGS.get(self.name, "")


@dataclass(frozen=True)
class MetricsView:
    """Contents of the metrics section.

    Attributes:
        tiles: Headline metrics.
        names: Columns of the table.
        rows: Name of a row to its metrics; a missing metric is None.
    """

    tiles: Sequence[Tile]
    names: Sequence[str]
    rows: Mapping[str, Mapping[str, float | None]]


def metrics_view(data: ReportData) -> MetricsView | None:
    """Return the metrics section, or None if no metric is finite."""
    names = [name for name, value in data.summary.items() if math.isfinite(value)]
    if not names:
        return None
    floor_name, floor = next(iter(data.comparisons.items()), ("", {}))
    rows = {"this run": data.summary, **data.comparisons}
    return MetricsView(
        tiles=[
            Tile(name, data.summary[name], floor.get(name), floor_name)
            for name in [name for name in HEADLINES if name in names] or names[:4]
        ],
        names=names,
        rows={label: {name: values.get(name) for name in names} for label, values in rows.items()},
    )


def format_metric(value: float | None) -> str:
    """Return a fraction in [0, 1] in per cent with one decimal, other values with four digits."""
    if value is None or not math.isfinite(value):
        return "–"  # noqa: RUF001, an en dash stands for a missing value
    return f"{100 * value:.1f}" if 0 <= value <= 1 else f"{value:.4g}"
