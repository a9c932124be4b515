"""Duplicates in an index, and between two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from rich.console import Console

from ibc_pyg.collections.contents import Contents, Rows
from ibc_pyg.collections.duplicates.candidates import by_hash, by_neighbours
from ibc_pyg.collections.duplicates.result import Duplicates, Settings, Sides, assemble
from ibc_pyg.collections.duplicates.small import SmallPictures
from ibc_pyg.collections.neighbours import STEP, neighbours, release
from ibc_pyg.console import Progress
from ibc_pyg.errors import RunError, printable
from ibc_pyg.retrieval.reader import IndexReader


def find_duplicates(
    index: IndexReader,
    against: IndexReader | None = None,
    settings: Settings | None = None,
    *,
    progress: Console | None = None,
) -> Duplicates:
    """Find the files of an index that show the same picture; nothing is changed.

    Files with the same content come first. Of the others, those that are near by descriptor or by
    perceptual hash are compared by their pixels.

    Args:
        index: The index.
        against: Another index of the same model: only groups with files of both are returned.
        settings: Settings; None takes the defaults.
        progress: Console that shows the progress.

    Raises:
        RunError: If the indexes have different models.
    """
    settings = settings or Settings()
    if against is not None:
        _check_same_model(index, against)
    own = Contents.of(index)
    other = None if against is None else Contents.of(against)
    both, sides = (own, None) if other is None else _merged(own, other)
    console = progress or Console(quiet=True)
    with (
        Progress(len(both), "read", console=console) as bar,
        SmallPictures.read(map(both.file, range(len(both))), len(both), bar.update) as small,
    ):
        with Progress(len(own), "compare", console=console) as bar:
            k = settings.neighbours
            if against is None or other is None:
                lists = _within(index, own, k, bar)
            else:
                lists = _between(index, own, against, other, both, k, bar)
            near = by_neighbours(lists, small, mirrored=settings.mirrored)
            parts = [*near, *by_hash(small, mirrored=settings.mirrored)]
        return assemble(both.paths, small, parts, sides, settings)


def _check_same_model(index: IndexReader, against: IndexReader) -> None:
    if index.fingerprint.digest != against.fingerprint.digest:
        raise RunError(
            f"{printable(index.path)} was made by {index.fingerprint}, {printable(against.path)} "
            f"by {against.fingerprint}; build one of them again with the model of the other"
        )


def _merged(own: Contents, other: Contents) -> tuple[Contents, Sides]:
    files: dict[bytes, set[str]] = {}
    for contents in (own, other):
        for digest, paths in zip(contents.digests, contents.paths, strict=True):
            files.setdefault(digest, set()).update(paths)
    digests = sorted(files)
    both = Contents(
        rows=np.full(len(digests), -1),
        paths=[tuple(sorted(files[digest])) for digest in digests],
        labels=[None] * len(digests),
        digests=digests,
    )
    return both, Sides(_member(digests, own), _member(digests, other))


def _member(digests: Sequence[bytes], contents: Contents) -> npt.NDArray[np.bool_]:
    return np.isin(np.array(digests), np.array(contents.digests))


def _within(
    index: IndexReader, own: Contents, k: int, bar: Progress
) -> Iterator[tuple[Rows, Rows]]:
    for part in neighbours(index, own, k, bar.update):
        yield part.first + np.arange(len(part.places)), part.places


def _between(
    index: IndexReader,
    own: Contents,
    against: IndexReader,
    other: Contents,
    both: Contents,
    k: int,
    bar: Progress,
) -> Iterator[tuple[Rows, Rows]]:
    digests = np.array(both.digests)
    mine = np.searchsorted(digests, np.array(own.digests))
    theirs = np.searchsorted(digests, np.array(other.digests))
    vectors, others = index.vectors, against.vectors
    for start in range(0, len(own), STEP):
        rows = own.rows[start : start + STEP]
        found = against.nearest(np.ascontiguousarray(vectors[rows]), k)
        yield mine[start : start + STEP], theirs[other.places(found.rows, len(others))]
        release(vectors)
        release(others)
        bar.update(start + len(rows))
