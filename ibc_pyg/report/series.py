"""Curves of a report, from the records of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibc_pyg.metrics.names import HEADLINES, is_metric

BUCKETS = 200
MOST_SERIES = 6

_RATE = re.compile(r"^(lr|learning_rate)\b")
_SPEED = re.compile(r"^images(_per_s|_per_second|/s)$")
_SHARE = re.compile(r"^attention/(.*/)?(own_class|self|null_node)$")
_ENTROPY = re.compile(r"^attention/(.*/)?entropy")
_GRADIENT = re.compile(r"^grad_norm/")
_GROUP_RATE = re.compile(r"^lr/")

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
        title: Quantity and unit.
        series: Its curves.
        top: Upper end of the axis, or None for the highest value.
        hint: Sentence in place of an empty chart; empty if none is needed.
    """

    title: str
    series: Sequence[Series]
    top: float | None
    hint: str


def panels_of(history: Records) -> list[Panel]:
    """Sort the recorded values into panels by name: losses, metrics, rates, speed, attention.

    A name with `loss` in it is a loss unless it begins with `lr/` or `grad_norm/`; of other names
    the part after the last slash counts. A panel has at most six curves.
    """
    names = list(dict.fromkeys(name for record in history for name in record))
    last = {name: name.rsplit("/", 1)[-1] for name in names}
    parts = [name for name in names if _GRADIENT.match(name)]
    groups = [name for name in names if _GROUP_RATE.match(name)]
    losses = [name for name in names if "loss" in name.lower() and name not in parts + groups]
    metrics = [name for name in names if is_metric(last[name])]
    kept = sorted(metrics, key=lambda name: last[name] not in HEADLINES)[:MOST_SERIES]
    metrics = [name for name in metrics if name in kept]
    # The rates of the groups include that of the heads.
    rates = groups or [name for name in names if _RATE.match(last[name])]
    speeds = [name for name in names if _SPEED.match(last[name]) or _SPEED.match(name)]
    waits = [name for name in names if last[name] == "data_wait"]
    shares = [name for name in names if _SHARE.match(name)]
    entropies = [name for name in names if _ENTROPY.match(name)]
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
        Panel("Data-loading wait, % of time", _collect(history, waits, 100.0), 100.0, ""),
        Panel("Gradient norm", _collect(history, parts), None, ""),
        Panel("Attention by target, %", _collect(history, shares, 100.0), 100.0, ""),
        Panel("Attention entropy, nats", _collect(history, entropies), None, ""),
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
