"""Charts over the steps of a run, drawn as SVG by `charts.html.j2`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from ibc_pyg.errors import printable
from ibc_pyg.report.series import Panel, Records, Series, panels_of

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 42, WIDTH - 84, 8, HEIGHT - 24
"""Edges of the plotting area."""
LABEL_HEIGHT = 13.0
LABEL_CHARACTERS = 12
MOST_DOTS = 30
"""Most points of a curve that are marked by dots."""

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Tick:
    """Label of an axis at a coordinate of the drawing."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """One curve of a chart.

    Attributes:
        name: Full name.
        label: Short name at the end of the curve.
        label_at: Height of the label.
        line: Points of the polyline.
        band: Points of the polygon from the lowest to the highest values; empty without one.
        dots: Coordinates of the dots.
    """

    name: str
    label: str
    label_at: float
    line: str
    band: str
    dots: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        title: Quantity and unit.
        description: Text for screen readers.
        curves: One per series.
        value_ticks: Of the vertical axis.
        step_ticks: Of the horizontal axis.
        hover: JSON of the values that the script shows under the pointer.
    """

    title: str
    description: str
    curves: Sequence[Curve]
    value_ticks: Sequence[Tick]
    step_ticks: Sequence[Tick]
    hover: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


@dataclass(frozen=True)
class Charts:
    """Contents of the training section: charts, and sentences in place of missing ones."""

    drawn: Sequence[Chart]
    hints: Sequence[str]


def draw_charts(history: Records) -> Charts | None:
    """Return the training section, or None if nothing was recorded."""
    panels = panels_of(history)
    steps = [step for panel in panels for item in panel.series for step in item.steps]
    if not steps:
        return None
    return Charts(
        drawn=[_chart(panel, min(steps), max(steps)) for panel in panels if panel.series],
        hints=[panel.hint for panel in panels if panel.hint and not panel.series],
    )


def spread(places: Sequence[float], low: float, high: float) -> list[float]:
    """Move label places apart until they are a line apart, within `[low, high]` if they fit."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = [0.0] * len(places)
    previous = low - LABEL_HEIGHT
    for index in order:
        previous = moved[index] = max(places[index], previous + LABEL_HEIGHT)
    limit = high
    for index in reversed(order):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - LABEL_HEIGHT
    return moved


def _chart(panel: Panel, first: float, last: float) -> Chart:
    # A curve that starts near the beginning gets an axis that starts at zero.
    first = 0.0 if first < 0.1 * last else first
    values, bottom, top = _axis(panel)

    def x(step: float) -> float:
        return LEFT + (step - first) / max(last - first, 1e-9) * (RIGHT - LEFT)

    def y(value: float) -> float:
        share = min(max((value - bottom) / (top - bottom), 0.0), 1.0)
        return BOTTOM - share * (BOTTOM - TOP)

    places = spread([y(float(item.mean[-1])) for item in panel.series], TOP + 4, BOTTOM)
    names = [item.name for item in panel.series]
    return Chart(
        title=panel.title,
        description=_description(panel),
        curves=[
            _curve(item, short(item.name, names), round(place, 1), x, y)
            for item, place in zip(panel.series, places, strict=True)
        ],
        value_ticks=_value_ticks(values, y),
        step_ticks=_step_ticks(first, last, x),
        hover=_hover(panel, x),
    )


def _axis(panel: Panel) -> tuple[list[float], float, float]:
    """Return the ticks and the two ends of the value axis."""
    bottom = min(0.0, *(float(item.mean.min()) for item in panel.series))
    if panel.top is not None:
        return [float(tick) for tick in np.linspace(0.0, panel.top, 6)], bottom, panel.top
    # Single outliers may be cut off; the curve itself may not.
    highest = max(
        max(float(item.mean.max()), float(np.percentile(item.high, 98))) for item in panel.series
    )
    if highest <= bottom:
        highest = bottom + 1.0
    ticks = [float(tick) for tick in MaxNLocator(5).tick_values(bottom, highest)]
    return ticks, ticks[0], ticks[-1]


def _value_ticks(values: Sequence[float], y: Scale) -> list[Tick]:
    digits = max((len(f"{value:.6g}".partition(".")[2]) for value in values), default=0)
    return [
        Tick(round(y(value), 1), f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.3g}")
        for value in values
    ]


def _step_ticks(first: float, last: float, x: Scale) -> list[Tick]:
    return [
        Tick(round(x(step), 1), f"{step:,.0f}")
        for step in MaxNLocator(4, integer=True).tick_values(first, last)
        if first <= step <= last
    ]


def _curve(item: Series, label: str, label_at: float, x: Scale, y: Scale) -> Curve:
    def points(values: Sequence[float]) -> list[tuple[float, float]]:
        return [
            (round(float(x(step)), 1), round(float(y(value)), 1))
            for step, value in zip(item.steps, values, strict=True)
        ]

    def written(places: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{across},{down}" for across, down in places)

    mean = points(item.mean.tolist())
    has_band = bool((item.high > item.low).any())
    edge = [*points(item.high.tolist()), *reversed(points(item.low.tolist()))] if has_band else []
    return Curve(
        name=item.name,
        label=label,
        label_at=label_at,
        line=written(mean),
        band=written(edge),
        dots=mean if len(mean) <= MOST_DOTS else (),
    )


def _hover(panel: Panel, x: Scale) -> str:
    """Return the values that the page shows under the pointer, as JSON."""
    names = [item.name for item in panel.series]
    return json.dumps(
        [
            {
                "name": printable(short(item.name, names)),
                "x": [round(x(step), 1) for step in item.steps],
                "step": [round(float(step)) for step in item.steps],
                "value": [float(f"{value:.4g}") for value in item.mean],
            }
            for item in panel.series
        ],
        separators=(",", ":"),
    )


def _description(panel: Panel) -> str:
    parts = [
        f"{item.name} from {item.mean[0]:.4g} at step {item.steps[0]:,.0f} "
        f"to {item.mean[-1]:.4g} at step {item.steps[-1]:,.0f}"
        for item in panel.series
    ]
    return f"{panel.title}: {'; '.join(parts)}"


def short(name: str, names: Sequence[str]) -> str:
    """Return a name that fits into the margin of a chart.

    Args:
        name: One of `names`.
        names: All names in the chart. The part after the last slash is enough if it is unique; if
            that is too long, the part after its first underscore.
    """
    lasts = [other.rsplit("/", 1)[-1] for other in names]
    last = name.rsplit("/", 1)[-1]
    label = last if lasts.count(last) == 1 else name
    tails = [other.partition("_")[2] for other in lasts]
    tail = last.partition("_")[2]
    if len(label) > LABEL_CHARACTERS and tail and tails.count(tail) == 1:
        label = tail
    return label if len(label) <= LABEL_CHARACTERS else "…" + label[1 - LABEL_CHARACTERS :]
