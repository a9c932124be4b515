"""From the records of a run to the curves of a report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BUCKETS = 200
MOST_SERIES = 6
FIRST_METRICS = ("R@1", "MAP@R", "NMI")
"""Metrics that are shown even if there are more than six."""

_METRIC = re.compile(r"^(R@\d+|MAP@R|RP|NMI|AMI)$")
_RATE = re.compile(r"^(lr|learning_rate)\b")
_SPEED = re.compile(r"^images(_per_second|/s)$")

Records = Sequence[Mapping[str, float | None]]


@dataclass(frozen=True)
class Series:
    """One curve: buckets of steps with the mean, lowest and highest value of each, `[B]`."""

    name: str
    steps: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        title: What it shows, with the unit.
        series: Its curves.
        top: Upper end of the axis, or None for the highest value.
        hint: Why it is empty, where that deserves a word.
    """

    title: str
    series: Sequence[Series]
    top: float | None
    hint: str


def panels_of(history: Records) -> list[Panel]:
    """Sort the recorded values into panels by name: losses, metrics, learning rate, speed.

    A name with `loss` in it is a loss; of other names the part after the last slash counts. A panel
    has at most six curves.
    """
    names = list(dict.fromkeys(name for record in history for name in record))
    last = {name: name.rsplit("/", 1)[-1] for name in names}
    losses = [name for name in names if "loss" in name.lower()]
    metrics = [name for name in names if _METRIC.match(last[name])]
    kept = sorted(metrics, key=lambda name: last[name] not in FIRST_METRICS)[:MOST_SERIES]
    metrics = [name for name in metrics if name in kept]
    rates = [name for name in names if _RATE.match(last[name])]
    speeds = [name for name in names if _SPEED.match(last[name]) or _SPEED.match(name)]
    return [
        Panel("Loss", _collect(history, losses), None, "No loss was recorded."),
        Panel(
            "Metrics, %",
            _collect(history, metrics, 100.0),
            100.0,
            "No evaluation was recorded during the training.",
        ),
        Panel("Learning rate", _collect(history, rates), None, ""),
        Panel("Images per second", _collect(history, speeds), None, ""),
    ]


def bucket(name: str, steps: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> Series:
    """Reduce a curve `[T]` to at most 200 buckets with equally many records, in order of steps."""
    order = np.argsort(steps, kind="stable")  # [T]
    groups = np.array_split(order, min(BUCKETS, len(order)))
    return Series(
        name,
        np.array([steps[group].mean() for group in groups]),  # [B]
        np.array([values[group].mean() for group in groups]),  # [B]
        np.array([values[group].min() for group in groups]),  # [B]
        np.array([values[group].max() for group in groups]),  # [B]
    )


def _collect(history: Records, names: Sequence[str], factor: float = 1.0) -> list[Series]:
    series = []
    for name in names[:MOST_SERIES]:
        points = [
            (float(step), factor * float(value))
            for record in history
            if (value := record.get(name)) is not None
            and (step := record.get("step")) is not None
            and math.isfinite(value)
        ]
        if points:
            steps, values = np.array(points, dtype=np.float64).T  # [T], [T]
            series.append(bucket(name, steps, values))
    return series
