"""Search by picture, with a trained model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.errors import DatasetError, RunError
from ibc_pyg.inference.trained import Trained
from ibc_pyg.retrieval.index import SearchIndex


@dataclass(frozen=True)
class Hit:
    """One image found.

    Attributes:
        rank: From 1.
        similarity: Cosine, in [-1, 1].
        label: Name of its class.
        path: Where it lies, or its name in a data set held in memory.
    """

    rank: int
    similarity: float
    label: str
    path: str


def search(trained: Trained, image: Path, k: int) -> list[Hit]:
    """Return the test images most like a picture, best first.

    Args:
        trained: Model and data.
        image: A picture file.
        k: How many, >= 1.

    Raises:
        RunError: If the picture cannot be read.
    """
    searched, table = trained.searched(), trained.data.table
    try:
        picture = decode_image(image)  # [3, H, W]
    except DatasetError as error:
        raise RunError(f"{str(error).partition(';')[0]}; search with another picture") from error
    query = describe_picture(trained, picture)  # [1, D]
    hits = []
    for rank, found in enumerate(SearchIndex(searched.vectors).search(query, k)[0], start=1):
        row = int(searched.rows[found.item])
        path = table.paths[row] if table.root is None else str(table.root / table.paths[row])
        hits.append(Hit(rank, found.similarity, table.class_names[table.labels[row]], path))
    return hits


@torch.no_grad()
def describe_picture(trained: Trained, picture: Tensor) -> Tensor:
    """Return the descriptor of one picture.

    Args:
        trained: Model and data.
        picture: uint8 `[3, H, W]`.

    Returns:
        Unit-norm float32 `[1, D]`, on the CPU.
    """
    images = trained.data.table.images
    if images is not None:
        # A set in memory is described at its own size, not cut out of a larger picture.
        picture = F.resize(picture, list(images.shape[1:3]), antialias=True)  # [3, h, w]
        if images.shape[-1] == 1 and not (picture == picture[:1]).all():
            picture = F.rgb_to_grayscale(picture)  # [1, h, w]
        # Grey pixels stay as they are: the weights of the three colours do not sum to one exactly.
        picture = picture[: images.shape[-1]]  # [C, h, w]
    pixels = trained.fabric.to_device(trained.data.transform.test([picture]))  # [1, C, S, S]
    return trained.model.describe(pixels).cpu()


def export_image(trained: Trained, row: int) -> Path:
    """Return the file of an image; one held in memory is written to the run folder as PNG.

    Raises:
        RunError: If it cannot be written.
    """
    table = trained.data.table
    if table.images is None:
        return (table.root or Path()) / table.paths[row]
    path = trained.run.path / "query.png"
    try:
        Image.fromarray(table.images[row].squeeze()).save(path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error}") from error
    return path
