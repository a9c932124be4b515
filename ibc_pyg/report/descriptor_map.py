"""The map of test descriptors: a few classes in colour, the rest in grey."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from ibc_pyg.report.data import MapPoints
from ibc_pyg.report.encode import thumb_uri
from ibc_pyg.report.gallery import is_small
from ibc_pyg.report.markup import Markup, element, missing

FOCUS_CLASSES = 12
SIDE = 480.0
MARGIN = 14.0
RADIUS = 3.4
THUMB = 20.0

SHAPES = ("circle", "square", "diamond", "triangle")


def map_section(points: MapPoints | None) -> Markup:
    """Return the map with its legend, or a sentence if there are no points."""
    if points is None or not len(points.xy):
        return missing("No test descriptors were kept, so there is no map.")
    xy = fit_square(points.xy)
    focus = focus_classes(points.labels)
    others = [label for label in dict.fromkeys(points.labels.tolist()) if label not in focus]
    layers = [_group(points, xy, label, None) for label in others]
    layers += [_group(points, xy, label, rank) for rank, label in enumerate(focus)]
    layers += [_number(points, xy, label, rank) for rank, label in enumerate(focus)]
    counts = Counter(points.labels.tolist())
    legend = [
        element(
            "li",
            element(
                "svg",
                element("path", d=_marker(rank, 8.0, 8.0, 5.0), class_=f"focus c{rank}"),
                viewBox="0 0 16 16",
                aria_hidden="true",
            ),
            element("span", points.class_names[label], class_="label"),
            element("span", str(counts[label]), class_="score"),
            data_class=str(rank),
            tabindex="0",
        )
        for rank, label in enumerate(focus)
    ]
    shown = sum(counts[label] for label in focus)
    drawing = element(
        "svg",
        *layers,
        viewBox=f"0 0 {SIDE:.0f} {SIDE:.0f}",
        role="img",
        aria_label=(
            f"Map of {len(xy)} test descriptors of {len(counts)} classes; "
            f"{len(focus)} classes with {shown} descriptors are coloured and numbered"
        ),
    )
    return element("div", drawing, element("ol", *legend, class_="legend"), class_="map")


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


def _group(points: MapPoints, xy: npt.NDArray[np.float64], label: int, rank: int | None) -> Markup:
    rows = np.flatnonzero(points.labels == label)
    plain = [row for row in rows if int(row) not in points.thumbs]
    radius = RADIUS if rank is not None else RADIUS * 0.6
    content = [element("title", points.class_names[label])]
    if plain:
        path = "".join(
            _marker(rank or 0, float(xy[row, 0]), float(xy[row, 1]), radius) for row in plain
        )
        content.append(element("path", d=path))
    for row in rows:
        if int(row) in points.thumbs:
            content += _thumb(points, xy[row], int(row))
    kind = "rest" if rank is None else f"focus c{rank}"
    return element("g", *content, class_=kind, data_class=None if rank is None else str(rank))


def _thumb(points: MapPoints, place: npt.NDArray[np.float64], row: int) -> list[Markup]:
    picture = points.thumbs[row]
    box: dict[str, str | float] = {
        "x": round(float(place[0]) - THUMB / 2, 1),
        "y": round(float(place[1]) - THUMB / 2, 1),
        "width": THUMB,
        "height": THUMB,
    }
    crisp = "crisp" if is_small(picture) else None
    image = element("image", href=thumb_uri(picture, 64), class_=crisp, **box)
    return [image, element("rect", class_="thumb", **box)]


def _number(points: MapPoints, xy: npt.NDArray[np.float64], label: int, rank: int) -> Markup:
    members = xy[points.labels == label]  # [m, 2]
    # The member nearest to the median: a number between two groups would name neither.
    middle = members[np.abs(members - np.median(members, 0)).sum(1).argmin()]
    rows = np.flatnonzero(points.labels == label).tolist()
    aside = THUMB / 2 + 4.0 if points.thumbs.keys() & set(rows) else 3 * RADIUS
    return element(
        "text",
        str(rank + 1),
        x=round(float(middle[0]) + aside, 1),
        y=round(float(middle[1]) - aside, 1),
        class_="number",
        data_class=str(rank),
        aria_hidden="true",
    )


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
