"""Map of an index: its vectors in two dimensions."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

from ibc_pyg.collections.contents import Contents
from ibc_pyg.errors import RunError, printable
from ibc_pyg.retrieval.reader import IndexReader

MOST_POINTS = 20_000
"""Most pictures of a page."""
_COMPONENTS = 50
_LEAST = 12
"""Fewer pictures are shown by their first two principal components."""


@dataclass(frozen=True)
class Layout:
    """Places of pictures on a map.

    Attributes:
        xy: Float32 `[M, 2]`, in [0, 1].
        paths: First file of each picture.
        labels: Class of each; None without one.
        total: Number of pictures of the index, of which M were drawn.
        method: What was done, in a few words.
    """

    xy: npt.NDArray[np.float32]
    paths: list[str]
    labels: list[str | None]
    total: int
    method: str


def make_layout(index: IndexReader, *, most: int = MOST_POINTS, seed: int = 0) -> Layout:
    """Place the pictures of an index on a plane so that neighbours stay close.

    PCA to 50 dimensions, then t-SNE of openTSNE (Policar et al. 2024) from the PCA layout.

    Args:
        index: The index.
        most: Pictures at most; of more, some are drawn at random.
        seed: Seed of all draws.

    Raises:
        RunError: If openTSNE is not installed, or the index is empty.
    """
    library = _open_tsne()
    contents = Contents.of(index)
    if not len(contents):
        raise RunError(f"{printable(index.path)} has no pictures")
    rng = np.random.default_rng(seed)
    places = np.arange(len(contents))
    if len(places) > most:
        places = np.sort(rng.permutation(len(places))[:most])
    x = index.vectors[contents.rows[places]].astype(np.float64)  # [M, D]
    x -= x.mean(0)
    components = min(_COMPONENTS, *x.shape)
    if np.abs(x).max() > 0:
        x = PCA(components, random_state=seed).fit_transform(x)  # [M, <= 50]
    plane = np.pad(x, ((0, 0), (0, max(0, 2 - x.shape[1]))))[:, :2]  # [M, 2]
    method = "the first two principal components"
    if len(x) >= _LEAST and plane.std(0).max() > 0:
        start = plane / plane[:, 0].std() * 1e-4  # the scale t-SNE starts from
        search = library.TSNE(
            perplexity=min(30.0, (len(x) - 1) / 3),
            initialization=start,
            random_state=seed,
            n_jobs=1,
        )
        plane = np.asarray(search.fit(x))  # [M, 2]
        method = f"PCA to {components} dimensions, then t-SNE"
    low, high = plane.min(0), plane.max(0)
    xy = (plane - (low + high) / 2) / max(float((high - low).max()), 1e-12) + 0.5  # [M, 2]
    return Layout(
        xy=xy.astype(np.float32),
        paths=[contents.paths[place][0] for place in places.tolist()],
        labels=[contents.labels[place] for place in places.tolist()],
        total=len(contents),
        method=method,
    )


def _open_tsne() -> Any:
    try:
        return importlib.import_module("openTSNE")
    except ImportError as error:
        raise RunError(
            "a map needs openTSNE, which is not installed: pip install 'ibc-pyg[map]'"
        ) from error
