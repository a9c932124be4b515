"""Queries in the forms that callers have: pictures and vectors, one or many."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ibc_pyg.data.images.pictures import Picture
from ibc_pyg.errors import DatasetError, RunError, printable
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.retrieval.store.vectors import Vectors
from ibc_pyg.retrieval.update.feed import content_hash

Query = Picture | Tensor | Sequence[Picture]
"""A picture, several pictures, or vectors: floats `[D]` or `[Q, D]`."""


@dataclass(frozen=True)
class Queries:
    """Queries as vectors.

    Attributes:
        vectors: Float32 `[Q, D]`.
        digests: SHA-256 of the file of each query; None for a query without a file.
        single: Whether the caller gave one query, not a list.
    """

    vectors: Vectors
    digests: list[bytes | None]
    single: bool


def read_queries(query: Any, dim: int, embedder: Callable[[], Embedder]) -> Queries:
    """Turn queries into vectors.

    Args:
        query: See `Query`.
        dim: Length D of a vector.
        embedder: Returns the model, which only pictures need.

    Raises:
        ValueError: If vectors have a wrong shape or are not finite, or there is no query.
        RunError: If a picture cannot be read.
    """
    if isinstance(query, Tensor):
        query = query.detach().cpu().numpy()
    if isinstance(query, np.ndarray) and query.dtype.kind == "f":
        vectors = np.array(query, np.float32, ndmin=2)  # [Q, D]
        if query.ndim not in (1, 2) or vectors.shape[1] != dim:
            raise ValueError(
                f"a query vector must be [{dim}] or [Q, {dim}], not {list(query.shape)}"
            )
        if not np.isfinite(vectors).all():
            raise ValueError("the query has NaN or infinite values")
        return Queries(vectors, [None] * len(vectors), query.ndim == 1)
    single = _is_picture(query)
    pictures: list[Picture] = [query] if single else list(_several(query))
    if not pictures:
        return Queries(np.empty((0, dim), np.float32), [], single)
    for each in pictures:
        if isinstance(each, str | os.PathLike) and not Path(each).is_file():
            raise RunError(f"{printable(Path(each))} is not a file; give a picture to search with")
    try:
        # A copy, because the result may be a view of the model's memory.
        vectors = np.array(embedder().embed(pictures), np.float32)  # [Q, D]
    except DatasetError as error:
        raise RunError(f"{str(error).partition(';')[0]}; search with another picture") from error
    return Queries(vectors, [_digest(each) for each in pictures], single)


def _is_picture(query: object) -> bool:
    if isinstance(query, np.ndarray):
        return query.ndim in (2, 3)
    return isinstance(query, str | os.PathLike | bytes | Image.Image)


def _several(query: object) -> Iterable[Picture]:
    if isinstance(query, Iterable):
        return query
    raise ValueError(
        f"a query is a picture, a list of pictures or an array of vectors, not "
        f"{type(query).__name__}"
    )


def _digest(picture: Picture) -> bytes | None:
    if isinstance(picture, bytes):
        return hashlib.sha256(picture).digest()
    return content_hash(Path(picture)) if isinstance(picture, str | os.PathLike) else None
