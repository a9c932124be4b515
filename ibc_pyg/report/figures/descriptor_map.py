"""Map of test descriptors: a few classes in colour, the others in grey."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibc_pyg.report.data import MapPoints, Picture

FOCUS_CLASSES = 12
SIDE = 480
MARGIN = 14.0
RADIUS = 3.4
THUMB = 20

SHAPES = ("circle", "square", "diamond", "triangle")


@dataclass(frozen=True)
class PlacedThumb:
    """A picture in the map, by its upper left corner."""

    x: float
    y: float
    picture: Picture


@dataclass(frozen=True)
class Group:
    """The points of one class.

    Attributes:
        label: Name of the class.
        rank: Number of the colour; None for grey.
        path: SVG path of all markers.
        thumbs: Points that are drawn as pictures.
    """

    label: str
    rank: int | None
    path: str
    thumbs: Sequence[PlacedThumb]


@dataclass(frozen=True)
class LegendEntry:
    """A coloured class.

    Attributes:
        label: Name of the class.
        count: Number of its points.
        marker: SVG path of its marker in a box of side 16.
        x: Coordinate of its number in the map.
        y: Coordinate of its number in the map.
    """

    label: str
    count: int
    marker: str
    x: float
    y: float


@dataclass(frozen=True)
class DescriptorMap:
    """Contents of the descriptor section.

    Attributes:
        groups: Grey classes, then coloured ones by rank.
        legend: Coloured classes by rank.
        points: Number of points.
        classes: Number of classes.
        coloured: Number of coloured points.
    """

    groups: Sequence[Group]
    legend: Sequence[LegendEntry]
    points: int
    classes: int
    coloured: int
    side: int = SIDE
    thumb_side: int = THUMB


def draw_map(points: MapPoints | None) -> DescriptorMap | None:
    """Return the descriptor section, or None if there are no points."""
    if points is None or not len(points.xy):
        return None
    xy = fit_square(points.xy)
    focus = focus_classes(points.labels)
    others = [label for label in dict.fromkeys(points.labels.tolist()) if label not in focus]
    counts = Counter(points.labels.tolist())
    return DescriptorMap(
        groups=[
            *(_group(points, xy, label, None) for label in others),
            *(_group(points, xy, label, rank) for rank, label in enumerate(focus)),
        ],
        legend=[
            LegendEntry(
                points.class_names[label],
                counts[label],
                _marker(rank, 8.0, 8.0, 5.0),
                *_number_place(points, xy, label),
            )
            for rank, label in enumerate(focus)
        ],
        points=len(xy),
        classes=len(counts),
        coloured=sum(counts[label] for label in focus),
    )


def focus_classes(labels: npt.NDArray[np.int64], most: int = FOCUS_CLASSES) -> list[int]:
    """Return the class indices with the most points, at most `most`; ties by index."""
    counts = Counter(labels.tolist())
    return sorted(counts, key=lambda label: (-counts[label], label))[:most]


def fit_square(xy: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Scale points `[M, 2]` into the drawing, with equal scale on both axes; y goes down."""
    low, high = xy.min(0), xy.max(0)
    extent = max(float((high - low).max()), 1e-12)
    unit = (xy.astype(np.float64) - (low + high) / 2.0) / extent  # [M, 2] in [-0.5, 0.5]
    return np.asarray(SIDE / 2 + unit * (SIDE - 2 * MARGIN) * np.array([1.0, -1.0]))


def _group(points: MapPoints, xy: npt.NDArray[np.float64], label: int, rank: int | None) -> Group:
    rows = np.flatnonzero(points.labels == label).tolist()
    radius = RADIUS if rank is not None else RADIUS * 0.6
    return Group(
        label=points.class_names[label],
        rank=rank,
        path="".join(
            _marker(rank or 0, float(xy[row, 0]), float(xy[row, 1]), radius)
            for row in rows
            if row not in points.thumbs
        ),
        thumbs=[
            PlacedThumb(
                round(float(xy[row, 0]) - THUMB / 2, 1),
                round(float(xy[row, 1]) - THUMB / 2, 1),
                points.thumbs[row],
            )
            for row in rows
            if row in points.thumbs
        ],
    )


def _number_place(
    points: MapPoints, xy: npt.NDArray[np.float64], label: int
) -> tuple[float, float]:
    members = xy[points.labels == label]  # [m, 2]
    # Beside the member nearest to the median: a number between two groups would name neither.
    middle = members[np.abs(members - np.median(members, 0)).sum(1).argmin()]
    rows = np.flatnonzero(points.labels == label).tolist()
    aside = THUMB / 2 + 4.0 if points.thumbs.keys() & set(rows) else 3 * RADIUS
    return round(float(middle[0]) + aside, 1), round(float(middle[1]) - aside, 1)


def _marker(rank: int, x: float, y: float, r: float) -> str:
    """Return the SVG path of a marker of about equal area, whose shape follows the rank."""
    shape = SHAPES[rank % len(SHAPES)]
    if shape == "circle":
        arc = f"a{r:.1f} {r:.1f} 0 1 0"
        return f"M{x - r:.1f} {y:.1f}{arc} {2 * r:.1f} 0{arc} -{2 * r:.1f} 0z"
    if shape == "square":
        s = 0.89 * r
        return f"M{x - s:.1f} {y - s:.1f}h{2 * s:.1f}v{2 * s:.1f}h-{2 * s:.1f}z"
    if shape == "diamond":
        s = 1.25 * r
        return f"M{x:.1f} {y - s:.1f}l{s:.1f} {s:.1f}l-{s:.1f} {s:.1f}l-{s:.1f} -{s:.1f}z"
    s = 1.35 * r
    return f"M{x:.1f} {y - s:.1f}l{s:.1f} {1.73 * s:.1f}h-{2 * s:.1f}z"
