"""Page of duplicates: histogram, sample pairs at each threshold, groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ibc_pyg.collections.duplicates.best import Quality
from ibc_pyg.collections.duplicates.result import SHOWN, Duplicates
from ibc_pyg.collections.page.page import views, write_page
from ibc_pyg.retrieval.page.view import View

PAIRS = 8
"""Sample pairs of a band."""
GROUPS = 200
"""Groups shown."""
_FILES = 24
_BANDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)
_BINS = 25
_LEFT, _WIDTH, _HEIGHT, _TOP = 10, 840, 190, 30


@dataclass(frozen=True)
class _Pair:
    first: View
    second: View
    similarity: float
    nested: bool
    mirrored: bool
    copy: bool


@dataclass(frozen=True)
class _Band:
    title: str
    count: int
    pairs: Sequence[_Pair]


def write_duplicates_page(path: Path, found: Duplicates, title: str) -> None:
    """Write the page of a search for duplicates.

    Args:
        path: The HTML file.
        found: Result of the search.
        title: Title of the page.

    Raises:
        RunError: If the file cannot be written.
    """
    judged, threshold = found.judged, found.settings.threshold
    samples = _samples(judged.similarity)
    first = [file for group in found.groups[:GROUPS] for file in group.paths[:_FILES]]
    pairs = [i for _, _, places in samples for i in places]
    shown = {place: found.paths[place][0] for place in np.unique(judged.pairs[pairs]).tolist()}
    pictures = views([*first, *shown.values()])
    copies = judged.passing(threshold)

    def pair(i: int) -> _Pair:
        a, b = (pictures[shown[place]] for place in judged.pairs[i].tolist())
        return _Pair(
            a,
            b,
            float(judged.similarity[i]),
            bool(judged.nested[i]),
            bool(judged.mirrored[i]),
            bool(copies[i]),
        )

    groups = "group" if len(found.groups) == 1 else "groups"
    write_page(
        path,
        "duplicates.html.j2",
        title,
        [
            f"{found.files:,} files, {found.pictures:,} different contents; "
            f"{len(found.groups):,} {groups} of duplicates with "
            f"{sum(len(group.paths) for group in found.groups):,} files."
        ],
        shown=SHOWN,
        threshold=threshold,
        chart=_chart(judged.similarity, judged.nested, threshold),
        bands=[_Band(name, count, [pair(i) for i in places]) for name, count, places in samples],
        groups=[
            {
                "exact": group.exact,
                "similarity": group.similarity,
                "files": [
                    {
                        "view": pictures[file],
                        "best": file == group.best,
                        "size": _size(group.qualities.get(file)),
                    }
                    for file in group.paths[:_FILES]
                ],
            }
            for group in found.groups[:GROUPS]
        ],
        more=max(0, len(found.groups) - GROUPS),
    )


def _samples(similarity: npt.NDArray[np.float32]) -> list[tuple[str, int, list[int]]]:
    """Return title, number and evenly spread pairs of each band, most similar first."""
    order = np.argsort(-similarity, kind="stable")
    bands = []
    for low, high in reversed(list(pairwise(_BANDS))):
        inside = (similarity[order] >= low) & ((similarity[order] < high) | (high == 1.0))
        places = order[inside]
        if len(places):
            picked = np.linspace(0, len(places) - 1, min(PAIRS, len(places))).round().astype(int)
            bands.append((f"{low:.2f} to {high:.2f}", len(places), places[picked].tolist()))
    return bands


def _chart(
    similarity: npt.NDArray[np.float32], nested: npt.NDArray[np.bool_], threshold: float
) -> dict[str, object] | None:
    """Return bars of a histogram, whose heights are square roots of the numbers."""
    if not len(similarity):
        return None
    edges = np.linspace(SHOWN, 1.0, _BINS + 1)
    values = np.clip(similarity, SHOWN, 1.0)
    every = np.histogram(values, edges)[0]
    copies = np.histogram(values[nested], edges)[0]
    base = _TOP + _HEIGHT
    step = _WIDTH / _BINS
    bars = []
    for place, (total, part) in enumerate(zip(every.tolist(), copies.tolist(), strict=True)):
        height = _HEIGHT * (total / every.max()) ** 0.5
        copy = height * part / total if total else 0.0
        bars.append(
            {
                "x": round(_LEFT + place * step + 1, 1),
                "width": round(step - 2, 1),
                "nested": round(copy, 1),
                "nested_y": round(base - copy, 1),
                "other": round(height - copy, 1),
                "other_y": round(base - height, 1),
                "text_y": round(base - height - 5, 1),
                "count": total,
            }
        )
    ticks = [
        {"x": round(_LEFT + (value - SHOWN) / (1 - SHOWN) * _WIDTH, 1), "text": f"{value:.1f}"}
        for value in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    ]
    return {
        "bars": bars,
        "ticks": ticks,
        "base": base,
        "height": base + 24,
        "total": len(similarity),
        "limit": round(_LEFT + (threshold - SHOWN) / (1 - SHOWN) * _WIDTH, 1),
    }


def _size(quality: Quality | None) -> str:
    if quality is None:
        return "cannot be read"
    colour = "" if quality.coloured else ", grey"
    return f"{quality.width} x {quality.height}{colour}"
