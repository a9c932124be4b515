"""Charts over the steps of a run, as SVG that follows the colours of the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from ibc_pyg.report.markup import Markup, element, missing
from ibc_pyg.report.series import Panel, Records, Series, panels_of

WIDTH, HEIGHT = 400.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 84.0, 8.0, 24.0
LABEL_HEIGHT = 13.0
LABEL_CHARACTERS = 12

Scale = Callable[[float], float]


def curves_section(history: Records) -> Markup:
    """Return the charts, or a sentence if nothing was recorded."""
    panels = panels_of(history)
    steps = [step for panel in panels for item in panel.series for step in item.steps]
    if not steps:
        return missing("No training steps were recorded, so there are no curves.")
    charts = [_chart(panel, min(steps), max(steps)) for panel in panels if panel.series]
    hints = [missing(panel.hint) for panel in panels if panel.hint and not panel.series]
    return element("div", *charts, *hints, class_="charts")


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


def _chart(panel: Panel, first: float, last: float) -> Markup:
    # A curve that starts near the beginning gets an axis that starts at zero.
    first = 0.0 if first < 0.1 * last else first
    ticks, bottom, top = _axis(panel)

    def x(step: float) -> float:
        return LEFT + (step - first) / max(last - first, 1e-9) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        share = min(max((value - bottom) / (top - bottom), 0.0), 1.0)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    marks = _value_ticks(ticks, y) + _step_ticks(first, last, x)
    ends = spread([y(float(item.mean[-1])) for item in panel.series], TOP + 4, HEIGHT - BOTTOM)
    for number, (item, end) in enumerate(zip(panel.series, ends, strict=True)):
        marks += _curve(item, number, x, y)
        if len(panel.series) > 1:
            marks.append(
                element(
                    "text",
                    short(item.name, [other.name for other in panel.series]),
                    element("title", item.name),
                    x=WIDTH - RIGHT + 8,
                    y=round(end, 1),
                    class_=f"end s{number}",
                )
            )
    marks.append(element("line", class_="cursor", y1=TOP, y2=HEIGHT - BOTTOM))
    drawing = element(
        "svg",
        *marks,
        viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}",
        role="img",
        aria_label=_description(panel),
        data_curves=_hover(panel, x),
    )
    caption = element(
        "figcaption",
        element("span", panel.title, class_="title"),
        element("output", aria_hidden="true"),
    )
    return element("figure", caption, drawing, class_="chart")


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


def _value_ticks(ticks: Sequence[float], y: Scale) -> list[Markup]:
    digits = max((len(f"{tick:.6g}".partition(".")[2]) for tick in ticks), default=0)
    marks = []
    for tick in ticks:
        height = round(y(tick), 1)
        marks.append(
            element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=height, y2=height, class_="grid")
        )
        written = f"{tick:.{digits}f}" if abs(tick) < 1e5 else f"{tick:.3g}"
        marks.append(element("text", written, x=LEFT - 7, y=height, class_="tick value"))
    return marks


def _step_ticks(first: float, last: float, x: Scale) -> list[Markup]:
    ticks = MaxNLocator(4, integer=True).tick_values(first, last)
    return [
        element("text", f"{tick:,.0f}", x=round(x(tick), 1), y=HEIGHT - 6, class_="tick step")
        for tick in ticks
        if first <= tick <= last
    ]


def _curve(item: Series, number: int, x: Scale, y: Scale) -> list[Markup]:
    across = [f"{x(step):.1f}" for step in item.steps]
    line = " ".join(f"{a},{y(v):.1f}" for a, v in zip(across, item.mean, strict=True))
    marks = []
    if (item.high > item.low).any():
        upper = [f"{a},{y(v):.1f}" for a, v in zip(across, item.high, strict=True)]
        lower = [f"{a},{y(v):.1f}" for a, v in zip(across, item.low, strict=True)]
        band = " ".join([*upper, *reversed(lower)])
        marks.append(element("polygon", points=band, class_=f"band s{number}"))
    marks.append(element("polyline", points=line, class_=f"curve s{number}"))
    if len(item.steps) <= 30:
        marks += [
            element("circle", cx=float(a), cy=round(y(v), 1), r=2.2, class_=f"dot s{number}")
            for a, v in zip(across, item.mean, strict=True)
        ]
    return marks


def _hover(panel: Panel, x: Scale) -> str:
    """Return what the page needs to read values off the curves, as JSON."""
    names = [item.name for item in panel.series]
    return json.dumps(
        [
            {
                "name": short(item.name, names),
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
    """Return a name as the margin of a chart takes it.

    Args:
        name: One of `names`.
        names: All names in the chart: a part after the last slash that is unique is enough; where
            that is too long, so is what stands behind its first underscore.
    """
    lasts = [other.rsplit("/", 1)[-1] for other in names]
    last = name.rsplit("/", 1)[-1]
    label = last if lasts.count(last) == 1 else name
    tails = [other.partition("_")[2] for other in lasts]
    tail = last.partition("_")[2]
    if len(label) > LABEL_CHARACTERS and tail and tails.count(tail) == 1:
        label = tail
    return label if len(label) <= LABEL_CHARACTERS else "…" + label[1 - LABEL_CHARACTERS :]
