"""Copies between the training and the test images of a data set, without an index."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ibc_pyg.collections.contents import Rows
from ibc_pyg.collections.duplicates.candidates import by_hash, by_neighbours
from ibc_pyg.collections.duplicates.result import Duplicates, Settings, Sides, assemble
from ibc_pyg.collections.duplicates.small import SIDE, SmallPictures, Source
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.retrieval.nearest import nearest_rows
from ibc_pyg.retrieval.store.vectors import Vectors

_COARSE = 8
_STEP = 4096


def find_leaks(
    table: ImageTable,
    settings: Settings | None = None,
    *,
    done: Callable[[int], None] | None = None,
) -> Duplicates:
    """Find test images that are copies of training images.

    Candidates are the nearest pictures at 8 x 8 grey pixels, also mirrored, and those of similar
    perceptual hashes.

    Args:
        table: The data set.
        settings: Settings; None takes the defaults.
        done: Called with the number of images read.

    Returns:
        Groups with images of both parts; paths are those of the files, or the names of images in
        memory.
    """
    settings = settings or Settings()
    order = sorted(range(len(table)), key=lambda row: table.paths[row])
    paths = [table.paths[row] for row in order]
    training = (table.roles[order] & Role.TRAIN.value) > 0
    images, root = table.images, table.root
    sources: Iterator[Source]
    if images is not None:
        sources = (images[row] for row in order)
    else:
        assert root is not None
        sources = (root / path for path in paths)
        paths = [str(root / path) for path in paths]
    sides = Sides(training, ~training)
    with SmallPictures.read(sources, len(paths), done) as small:
        lists = _lists(small, sides, settings)
        parts = [
            *by_neighbours(lists, small, mirrored=settings.mirrored),
            *by_hash(small, mirrored=settings.mirrored),
        ]
        return assemble([(path,) for path in paths], small, parts, sides, settings)


def _lists(small: SmallPictures, sides: Sides, settings: Settings) -> Iterator[tuple[Rows, Rows]]:
    first = np.flatnonzero(sides.first & small.usable)
    second = np.flatnonzero(sides.second & small.usable)
    if not len(first) or not len(second):
        return
    gallery = _coarse(small, first)
    for start in range(0, len(second), _STEP):
        places = second[start : start + _STEP]
        coarse = _coarse(small, places)  # [Q, 64]
        views = [coarse]
        if settings.mirrored:
            views.append(coarse.reshape(-1, _COARSE, _COARSE)[:, :, ::-1].reshape(coarse.shape))
        for view in views:
            found = nearest_rows(gallery, np.ascontiguousarray(view), settings.neighbours, None)
            yield places, first[found.rows]


def _coarse(small: SmallPictures, places: Rows) -> Vectors:
    """Return pictures of 8 x 8 pixels around their mean, float32 `[n, 64]`."""
    step = SIDE // _COARSE
    parts = [np.empty((0, _COARSE**2), np.float32)]
    for start in range(0, len(places), _STEP):
        blocks = small[places[start : start + _STEP]].reshape(-1, _COARSE, step, _COARSE, step)
        parts.append(blocks.mean((2, 4), dtype=np.float32).reshape(-1, _COARSE**2))  # [n, 64]
    coarse: Vectors = np.concatenate(parts)
    coarse -= coarse.mean(1, keepdims=True)
    return coarse
