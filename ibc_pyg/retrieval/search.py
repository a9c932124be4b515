"""Search by image among the test images of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ibc_pyg.errors import DatasetError, RunError
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.trained import Trained
from ibc_pyg.metrics import nearest_neighbours


@dataclass(frozen=True)
class RunHit:
    """Image found by a search in a run.

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


def search(trained: Trained, image: Path, k: int) -> list[RunHit]:
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
    found = nearest_neighbours(query, gallery.vectors, k=min(k, len(gallery.vectors)))
    hits = []
    pairs = zip(found.indices[0].tolist(), found.scores[0].tolist(), strict=True)
    for rank, (item, similarity) in enumerate(pairs, start=1):
        row = int(gallery.rows[item])
        hits.append(RunHit(rank, similarity, images.label(row), images.path(row)))
    return hits
