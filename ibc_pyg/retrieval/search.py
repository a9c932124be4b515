"""Search by image among the test images of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ibc_pyg.errors import DatasetError, RunError
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.trained import Trained
from ibc_pyg.retrieval.index import SearchIndex


@dataclass(frozen=True)
class Hit:
    """Image found by a search.

    Attributes:
        rank: From 1.
        similarity: Cosine, in [-1, 1].
        label: Class name.
        path: File of the image, or its name in a data set in memory.
    """

    rank: int
    similarity: float
    label: str
    path: str


def search(trained: Trained, image: Path, k: int) -> list[Hit]:
    """Return the test images most similar to a picture, most similar first.

    Args:
        trained: The run. The data set is only needed if the run folder has no embeddings of the
            test images, unlike that of a finished run.
        image: A picture file.
        k: Number of images, >= 1.

    Raises:
        RunError: If the picture cannot be read.
    """
    images = EvalSet(trained)
    gallery = images.gallery()
    try:
        query = torch.from_numpy(Embedder.of(trained).embed([image]).copy())  # [1, D]
    except DatasetError as error:
        raise RunError(f"{str(error).partition(';')[0]}; search with another picture") from error
    hits = []
    for rank, found in enumerate(SearchIndex(gallery.vectors).search(query, k)[0], start=1):
        row = int(gallery.rows[found.item])
        hits.append(Hit(rank, found.similarity, images.label(row), images.path(row)))
    return hits
