"""Figures of a comparison, as PDF and PNG: differences with intervals, and learning curves."""

from __future__ import annotations

import io
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ibc_pyg.compare.curves import CurvePoint
from ibc_pyg.compare.rows import Comparison, Row
from ibc_pyg.compare.statistics import Estimate
from ibc_pyg.errors import printable, reason
from ibc_pyg.files import write_atomically
from ibc_pyg.report.figures.literal_text import literal_text

_logger = logging.getLogger(__name__)

LONGEST = 60
"""Most characters of a row's text in a figure."""
KINDS = ("pdf", "png")
_MARKED = 20
"""Most points of a curve that are marked."""
# Fonts as outlines that editors and the checks of publishers read, not as bitmaps of type 3.
_FONTS = {"pdf.fonttype": 42}


def write_figure(draw: Callable[[], Figure | None], path: Path) -> list[Path]:
    """Write a figure as PDF and PNG, and return the paths; none if it cannot be drawn.

    Args:
        draw: Makes the figure; None where there is nothing to draw.
        path: The files, without ending.

    Raises:
        RunError: If a file cannot be written.
    """
    pictures = {}
    try:
        with literal_text(), mpl.rc_context(_FONTS):
            figure = draw()
            if figure is None:
                return []
            for kind in KINDS:
                picture = io.BytesIO()
                figure.savefig(picture, format=kind, dpi=200, bbox_inches="tight")
                pictures[path.with_suffix(f".{kind}")] = picture.getvalue()
    except Exception as error:  # hours of training must not be lost to a picture
        _logger.warning("%s is not drawn: %s", path.name, reason(error))
        return []
    for file, content in pictures.items():
        write_atomically(file, content)
    return list(pictures)


def draw_forest(comparison: Comparison) -> Figure | None:
    """Draw the paired difference of each row to the reference, with its 95 % interval.

    Returns:
        The figure; None if no row has a difference.
    """
    rows = [row for row in comparison.rows if row.differences]
    if not rows:
        return None
    names = [name for name in comparison.headlines if any(name in row.differences for row in rows)]
    figure, axes = _panels(rows, names)
    for axis, name in zip(axes, names, strict=True):
        draw_estimates(axis, [row.differences.get(name) for row in rows])
        axis.axvline(0.0, color="0.4", linewidth=0.8, linestyle="--")
        axis.set_title(name)
    reference = comparison.reference or comparison.rows[0].name
    against = printable(comparison.text_of(reference))[:LONGEST]
    figure.supxlabel(f"difference to {against}, percentage points, 95 % interval")
    return figure


def draw_means(comparison: Comparison) -> Figure:
    """Draw the mean of each row with the spread that the table shows."""
    names, rows = comparison.headlines, comparison.rows
    figure, axes = _panels(rows, names)
    for axis, name in zip(axes, names, strict=True):
        found = [row.metrics.get(name) for row in rows]
        spreads = [None if each is None else each.spread(comparison.show) for each in found]
        draw_estimates(axis, found, spreads)
        low, high = axis.get_xlim()
        least = min((100 * each.mean for each in found if each is not None), default=0.0)
        # Intervals of few seeds are wider than the range of the metric.
        axis.set_xlim(max(low, min(least, 0.0) - 1), min(high, 101))
        axis.set_title(name)
    figure.supxlabel("%")
    return figure


def draw_estimates(
    axis: Axes,
    values: Sequence[Estimate | None],
    spreads: Sequence[float | None] | None = None,
) -> None:
    """Draw estimates below each other, in percent, by default with their 95 % intervals."""
    placed = [(at, value) for at, value in enumerate(values) if value is not None]
    widths = [value.half_width for _, value in placed]
    if spreads is not None:
        widths = [spreads[at] for at, _ in placed]
    axis.errorbar(
        [100 * value.mean for _, value in placed],
        [at for at, _ in placed],
        xerr=[100 * (width or 0.0) for width in widths],
        fmt="o",
        capsize=3,
    )


def draw_curves(points: Sequence[CurvePoint], texts: Mapping[str, str]) -> Figure | None:
    """Draw the learning curves: one panel for each quantity, one colour for each setting.

    Thin lines are runs; a thick line is their mean, at the steps that all of them have. Few points
    are marked, since a single one is no line.

    Args:
        points: Points of all curves.
        texts: Text shown for each setting.

    Returns:
        The figure; None without points.
    """
    curves: dict[str, dict[str, dict[int, list[CurvePoint]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for point in points:
        curves[point.what][point.setting][point.seed].append(point)
    if not curves:
        return None
    settings = list(dict.fromkeys(point.setting for point in points))
    figure = Figure((4.2 * len(curves), 3.4), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, (what, found) in zip(axes, curves.items(), strict=True):
        for setting, runs in found.items():
            colour = f"C{settings.index(setting) % 10}"
            style = ("-", "--", ":", "-.")[settings.index(setting) // 10 % 4]
            for run in runs.values():
                steps, values = [each.step for each in run], [each.value for each in run]
                thin = {"linewidth": 0.6, "alpha": 0.4, "marker": _marker(steps), "markersize": 3}
                axis.plot(steps, values, color=colour, linestyle=style, **thin)
            steps, values = _mean_curve(list(runs.values()))
            # A label with a leading underscore would be left out of the legend.
            label = " " + printable(texts.get(setting, setting))[:LONGEST]
            thick = {"linewidth": 1.8, "marker": _marker(steps), "markersize": 5, "label": label}
            axis.plot(steps, values, color=colour, linestyle=style, **thick)
        axis.set_xlabel("step")
        axis.set_title(what)
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _marker(steps: Sequence[int]) -> str:
    return "o" if len(steps) <= _MARKED else ""


def _mean_curve(runs: Sequence[Sequence[CurvePoint]]) -> tuple[list[int], list[float]]:
    by_step = [{each.step: each.value for each in run} for run in runs]
    steps = sorted(set.intersection(*(set(each) for each in by_step)))
    return steps, [float(np.mean([each[step] for each in by_step])) for step in steps]


def _panels(rows: Sequence[Row], names: Sequence[str]) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with a panel for each metric and a line for each row."""
    figure = Figure((3.2 * len(names), 1.2 + 0.4 * len(rows)), layout="constrained")
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axis in axes:
        axis.set_yticks(range(len(rows)), [printable(row.text)[:LONGEST] for row in rows])
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure, axes
