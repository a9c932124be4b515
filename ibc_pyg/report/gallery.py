"""Queries with their nearest neighbours, right and wrong ones marked."""

from __future__ import annotations

from collections.abc import Sequence

from ibc_pyg.report.data import GalleryRow, Neighbour, Picture, Thumb
from ibc_pyg.report.encode import thumb_uri
from ibc_pyg.report.markup import Markup, element, missing

CRISP_BELOW = 64
"""Pictures with a longer side below this many pixels are enlarged with sharp pixels."""


def gallery_section(rows: Sequence[GalleryRow]) -> Markup:
    """Return the gallery, or a sentence if there is no query."""
    if not rows:
        return missing("No queries were kept, so there is no gallery.")
    return element("div", *map(_row, rows), class_="gallery")


def _row(row: GalleryRow) -> Markup:
    right = sum(neighbour.correct for neighbour in row.neighbours)
    query = element(
        "figure",
        element("div", _image(row.query, f"Query of class {row.query.label}"), class_="frame"),
        element(
            "figcaption",
            element("span", row.query.label, class_="label", title=row.query.label),
            element("span", f"{right} of {len(row.neighbours)} right", class_="score"),
        ),
        class_="query",
    )
    found = [_neighbour(rank, item) for rank, item in enumerate(row.neighbours, start=1)]
    return element("div", query, element("ol", *found), class_="row")


def _neighbour(rank: int, item: Neighbour) -> Markup:
    verdict = "right" if item.correct else "wrong"
    alt = f"Neighbour {rank}, {verdict}: {item.label}, similarity {item.similarity:.2f}"
    mark = element("span", "✓" if item.correct else "✗", class_="mark", aria_hidden="true")
    return element(
        "li",
        element(
            "figure",
            element("div", _image(item, alt), mark, class_="frame"),
            element(
                "figcaption",
                element("span", item.label, class_="label", title=item.label),
                element("span", f"{item.similarity:.2f}", class_="score"),
            ),
        ),
        class_=verdict,
    )


def _image(thumb: Thumb, alt: str) -> Markup:
    return element(
        "img",
        src=thumb_uri(thumb.picture),
        alt=alt,
        loading="lazy",
        decoding="async",
        class_="crisp" if is_small(thumb.picture) else None,
    )


def is_small(picture: Picture) -> bool:
    """Tell whether a picture is so small that smoothing would blur it."""
    return bool(max(picture.shape[:2]) < CRISP_BELOW)
